//! What fails, by the seed: programs, power, the network, clocks.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use sekisho_disk::{LossyDisk, Unsynced};

use super::model::Rest;
use super::world::{AGENTS, Machines, NODES, STEP, World};

const SECOND: Duration = Duration::from_secs(1);
/// Of an SVID, and of the authority that signed it.
const LONGEST_LIFE: Duration = Duration::from_secs(900);
/// Of the life of an authority, which is 300 s: half is over, and the next one is made.
const PREPARED: Duration = Duration::from_secs(152);
/// Two thirds are over, and the next one signs.
const ACTIVE: Duration = Duration::from_secs(203);

impl World {
    /// Whether something happens now that happens about once in `every` of the simulation.
    fn happens(&self, every: Duration) -> bool {
        !self.is_calm && (self.chance.random() % 1_000_000) < (STEP.as_micros() * 1_000_000 / every.as_micros()) as u64
    }

    fn random(&self, below: u64) -> u64 {
        self.chance.random() % below.max(1)
    }

    /// Which sidecars cannot hear at once what the server says.
    pub(super) fn note_trouble(&mut self) {
        let server_ahead = self.machines.server.machine.skew();
        self.model.known().sidecars.server_ahead = server_ahead;
        for (agent, sidecar) in self.machines.agents.iter().zip(&self.machines.sidecars) {
            let address = agent.machine.address();
            let is_held_up = self.network.parted.contains(&address) || self.network.stalled.contains(&address);
            let is_wrong = server_ahead != agent.machine.skew();
            let sidecars = &mut self.model.known().sidecars;
            if !self.machines.server.is_up() || is_held_up || is_wrong {
                sidecars.cut_off.insert(sidecar.name.clone(), self.at);
            }
            if !self.machines.server.is_up() || is_held_up || !agent.is_up() {
                sidecars.troubled.insert(sidecar.name.clone(), self.at);
            }
        }
        for sidecar in &self.machines.sidecars {
            let behind = self.machines.server.machine.skew().saturating_sub(sidecar.machine.skew());
            let behind = Duration::from_nanos(u64::try_from(behind).unwrap_or(0));
            self.model.known().sidecars.behind.insert(sidecar.name.clone(), behind);
        }
    }

    fn trouble(&self, address: IpAddr) {
        for sidecar in self.machines.sidecars.iter().filter(|sidecar| sidecar.machine.address() == address) {
            let sidecars = &mut self.model.known().sidecars;
            sidecars.troubled.insert(sidecar.name.clone(), self.at);
            sidecars.cut_off.insert(sidecar.name.clone(), self.at);
        }
    }

    pub(super) fn faults(&mut self) {
        if self.machines.ahead == 0 && self.at > 2 * SECOND && self.happens(20 * SECOND) {
            self.time_passes(PREPARED);
        }
        self.programs_stop();
        self.disks_fail();
        self.network_fails();
        self.streams_stall();
        self.clocks_go_wrong();
    }

    fn programs_stop(&mut self) {
        if self.machines.server.is_up() && self.at > SECOND && self.happens(9 * SECOND) {
            let down = Duration::from_millis(50 + self.random(4000));
            self.crash("server", down);
        }
        for index in 0..self.machines.agents.len() {
            if self.machines.agents[index].is_up() && self.happens(15 * SECOND) {
                let (name, down) =
                    (self.machines.agents[index].name.clone(), Duration::from_millis(50 + self.random(5000)));
                self.crash(&name, down);
            }
        }
        for index in 0..self.machines.agents.len() {
            if self.machines.agents[index].is_up() && self.happens(25 * SECOND) {
                self.starts_anew(index);
            }
        }
        for index in 0..self.machines.sidecars.len() {
            // What was decided a moment ago may not be on disk yet.
            let is_busy = self.model.has_decided(&self.machines.sidecars[index].name, self.at);
            let every = if is_busy { 2 * SECOND } else { 20 * SECOND };
            if self.machines.sidecars[index].is_up() && self.happens(every) {
                let (name, down) =
                    (self.machines.sidecars[index].name.clone(), Duration::from_millis(50 + self.random(2000)));
                self.crash(&name, down);
            }
        }
    }

    /// The machine of an agent and its sidecar stops and starts.
    fn starts_anew(&mut self, index: usize) {
        for down in [400 + self.random(1200), 200 + self.random(1400)].into_iter().enumerate() {
            let host = if down.0 == 0 { &self.machines.agents[index] } else { &self.machines.sidecars[index] };
            let (name, is_up) = (host.name.clone(), host.is_up());
            if is_up {
                self.crash(&name, Duration::from_millis(down.1));
            }
        }
    }

    /// In a part of the seeds syncs fail on the disks of sidecars, one or some in a row.
    fn disks_fail(&mut self) {
        for index in 0..self.machines.sidecars.len() {
            let sidecar = &self.machines.sidecars[index];
            let (disk, name) = (sidecar.disk(), sidecar.name.clone());
            let failures = disk.failures();
            if failures > sidecar.disk_failures {
                self.machines.sidecars[index].disk_failures = failures;
                self.model.disk_fails(&name, self.at);
            }
            if self.seed % 6 == 4 && self.happens(3 * SECOND) {
                let count = [1, 1, 2, 4][self.random(4) as usize];
                self.note(&name, &format!("has a disk whose next {count} syncs fail"));
                (0..count).for_each(|number| disk.fail(number, Errno::IO.raw_os_error()));
            }
        }
    }

    fn network_fails(&mut self) {
        let server = self.machines.server.machine.address();
        let others: Vec<IpAddr> =
            self.machines.nodes.iter().chain(&self.machines.agents).map(|host| host.machine.address()).collect();
        for address in others {
            if self.happens(12 * SECOND) {
                self.note("network", &format!("parts the server and {address}"));
                self.network.fabric.part(server, address);
                self.network.parted.insert(address);
            }
            if self.happens(6 * SECOND) {
                self.network.fabric.join(server, address);
                self.network.parted.remove(&address);
            }
            if self.happens(10 * SECOND) {
                self.note("network", &format!("cuts the server and {address}"));
                self.network.fabric.cut(server, address);
                self.trouble(address);
            }
        }
    }

    /// In each fourth seed the stream of changes to an agent is held up, while its calls are answered; at times streams
    /// that it opens again are as well.
    fn streams_stall(&mut self) {
        if self.seed % 4 != 1 {
            return;
        }
        for index in 0..self.machines.agents.len() {
            let (machine, name) =
                (self.machines.agents[index].machine.clone(), self.machines.agents[index].name.clone());
            if self.happens(5 * SECOND) && self.network.stalled.insert(machine.address()) {
                let later_too = self.random(4) != 0;
                self.note(&name, if later_too { "has streams that stall" } else { "has a stream that stalls" });
                machine.hold_up_streams(later_too);
            } else if self.happens(12 * SECOND) {
                self.network.stalled.remove(&machine.address());
                machine.release_streams();
            }
        }
    }

    fn clocks_go_wrong(&mut self) {
        if self.happens(20 * SECOND) {
            let nanos = (self.random(40) as i64 - 20) * 1_000_000_000;
            let which = self.random((NODES + AGENTS) as u64) as usize;
            if let Some(host) = self.machines.nodes.iter().chain(&self.machines.agents).nth(which) {
                self.note(&host.name, &format!("has a clock that is {} s ahead", nanos / 1_000_000_000));
                host.machine.set_skew(self.machines.ahead + nanos);
                let address = host.machine.address();
                self.machines
                    .sidecars
                    .iter()
                    .filter(|other| other.machine.address() == address)
                    .for_each(|other| other.machine.set_skew(self.machines.ahead + nanos));
                self.trouble(address);
            }
        }
    }

    /// All clocks are right, by one that is ahead of the simulation's.
    fn set_clocks(&mut self) {
        let ahead = self.machines.ahead;
        self.machines.all().for_each(|host| host.machine.set_skew(ahead));
    }

    /// For all of the fleet it is `second` of the first authority's life. The server starts again, and plans with that.
    fn time_passes(&mut self, second: Duration) {
        let ahead = second.saturating_sub(self.at);
        self.machines.ahead = i64::try_from(ahead.as_nanos()).unwrap_or(i64::MAX);
        self.set_clocks();
        self.note("chance", &format!("all clocks are {} s ahead", ahead.as_secs()));
        self.crash("server", Duration::from_millis(50));
    }

    /// The next authority signs, once all agents have heard of it. They have to come together once more.
    pub(super) fn rotate(&mut self) {
        let is_due = {
            let known = self.model.known();
            known.converged.is_some() && known.sidecars.centre_gone.is_none()
        };
        if is_due && self.machines.ahead > 0 && !self.machines.is_rotated {
            self.machines.is_rotated = true;
            self.time_passes(ACTIVE);
            self.model.count("rotated");
            let mut known = self.model.known();
            (known.converged, known.compared) = (None, Some("the next authority signs".to_owned()));
        }
    }

    fn crash(&mut self, name: &str, down: Duration) {
        let (at, loses_power) = (self.at, self.random(2) == 0);
        let unsynced = if self.random(2) == 0 { Unsynced::Kept } else { Unsynced::Lost };
        let how = if loses_power { format!("loses power, unsynced is {unsynced:?}") } else { "crashes".to_owned() };
        self.note(name, &format!("{how}, back in {} ms", down.as_millis()));
        let data = self.data(name);
        let folders: Vec<PathBuf> = match name {
            "server" => vec![data.join("ledger"), data.join("decisions")],
            _ => vec![data],
        };
        self.model.stops(name, at);
        self.agent_stops(name);
        let cache = self.data(name).join("cache.sealed");
        let had_cache = cache.exists();
        let host = if name == "server" {
            Some(&mut self.machines.server)
        } else {
            self.machines.agents.iter_mut().chain(&mut self.machines.sidecars).find(|host| host.name == name)
        };
        let Some(host) = host else { return };
        host.crash(at);
        host.starts_at = Some(at + down);
        if loses_power {
            lose_power(&host.disk(), &folders, unsynced);
            // Neither the newest policy nor the removal of the one before it was written.
            if name.starts_with("side-") && host.failures_of_run() > 1 {
                self.model.may_go_back(name);
            }
        }
        if had_cache && !cache.exists() {
            self.model.broken("L14", &format!("{name} lost the cache by which it serves without its server"));
        }
    }

    /// Its sidecar hears nothing of it from then on.
    pub(super) fn agent_stops(&self, name: &str) {
        let Machines { agents, sidecars, .. } = &self.machines;
        let pair = agents.iter().zip(sidecars).find(|(agent, _)| agent.name == name);
        if let Some((_, sidecar)) = pair {
            self.model.known().sidecars.agent_stopped.insert(sidecar.name.clone(), self.at);
        }
    }

    /// Once, when nothing else fails: what is reported of it has to end.
    pub(super) fn sidecar_rests(&mut self) {
        let converged = self.model.known().converged;
        if converged.is_some_and(|converged| self.at > converged + STEP) && !self.machines.has_rested {
            self.machines.has_rested = true;
            self.crash("side-0", Duration::from_millis(1500));
        }
    }

    /// What the operator wants to stop, while nothing else fails.
    pub(super) fn rests(&mut self) {
        let wanted = self.model.known().rest.take();
        match wanted {
            Some(Rest::Machine) => self.starts_anew(0),
            Some(Rest::Agent) => self.crash("agent-1", Duration::from_millis(1200)),
            None => {}
        }
    }

    /// The server is gone for good, and as much time passes as the longest SVID lives.
    pub(super) fn centre_goes(&mut self) {
        self.note("server", "is gone for good");
        self.machines.ahead += i64::try_from(LONGEST_LIFE.as_nanos()).unwrap_or(i64::MAX);
        self.set_clocks();
        let at = self.at;
        for host in [&mut self.machines.server, &mut self.machines.operator] {
            host.crash(at);
            host.starts_at = Some(Duration::MAX);
        }
        self.model.known().sidecars.centre_gone = Some(at);
    }

    /// The network is whole, disks and clocks are right, everything runs.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        self.machines.sidecars.iter().for_each(|sidecar| sidecar.disk().heal());
        self.network.fabric.join_all();
        self.network.parted.clear();
        self.network.stalled.clear();
        self.machines.agents.iter().for_each(|agent| agent.machine.release_streams());
        self.model.known().is_calm = true;
        self.set_clocks();
        self.note("network", "is whole again");
    }
}

/// Leaves of these folders what a loss of power leaves.
fn lose_power(disk: &LossyDisk, folders: &[PathBuf], unsynced: Unsynced) {
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        // Written past the simulated disk: a key by the crate that makes it durable, a token by the simulation.
        for name in ["seal.key", "token"].map(|name| folder.join(name)).iter().filter(|path| path.is_file()) {
            disk.adopt(name).unwrap();
        }
        disk.lose_power_at(folder, unsynced).unwrap();
    }
}
