//! The driver: machines, faults by seed, and time.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};
use std::time::Duration;

use sekisho_ports::{Fabric, Machine, PeerCredentials};
use sekisho_store::MemoryDevice;
use sekisho_types::Digest;

use super::host::Host;
use super::model::Model;
use super::node::Node;
use super::operator::Operator;
use super::records::Pair;
use super::sidecar::Sidecar;
use super::{audit, fleet, records};

const SERVER: &str = "10.0.0.1:8081";
/// What is sent to another machine arrives after this time or later.
pub(super) const STEP: Duration = Duration::from_millis(10);
/// Faults happen until then.
const CALM_AT: Duration = Duration::from_secs(16);
/// How long the fleet is watched after its server went for good.
const LAST_OUTAGE: Duration = Duration::from_secs(2);
/// By then all is compared.
const END: Duration = Duration::from_secs(75);
pub(super) const NODES: usize = 3;
pub(super) const AGENTS: usize = 2;
/// What the spool of a sidecar holds, in bytes: some ten records, or all.
const SMALL_SPOOL: usize = 10_000;
const LARGE_SPOOL: usize = 64 << 20;

/// What became of a seed.
pub struct Outcome {
    pub trace: Vec<String>,
    /// The law that was broken, if one was.
    pub broken: Option<String>,
    pub log_size: u64,
    pub counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// The events in the order that two runs of one seed share: those of one millisecond by their text, because tokio
    /// wakes the receivers of a `watch` in an order that no seed decides.
    pub fn events(&self) -> Vec<&str> {
        let mut events: Vec<&str> = self.trace.iter().map(String::as_str).collect();
        events.sort_unstable();
        events
    }

    /// A number that two runs of one seed share.
    pub fn digest(&self) -> String {
        let text = self.events().join("\n");
        sekisho_ledger::sha256_of(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

pub(super) struct World {
    pub at: Duration,
    pub network: Network,
    pub model: Model,
    /// Faults are drawn from its seed.
    pub chance: Arc<Machine>,
    pub machines: Machines,
    pub is_calm: bool,
    pub seed: u64,
    folder: tempfile::TempDir,
    workload: Workload,
}

pub(super) struct Network {
    pub fabric: Fabric,
    /// What the server cannot reach now.
    pub parted: BTreeSet<IpAddr>,
    /// Agents to which streams are held up.
    pub stalled: BTreeSet<IpAddr>,
}

pub(super) struct Machines {
    pub server: Host,
    pub operator: Host,
    pub nodes: Vec<Host>,
    pub agents: Vec<Host>,
    /// One beside each agent.
    pub sidecars: Vec<Host>,
    /// By how much all of their clocks are ahead of the simulation's, in nanoseconds.
    pub ahead: i64,
    pub is_rotated: bool,
    /// A sidecar was away for a while when nothing failed.
    pub has_rested: bool,
}

impl Machines {
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Host> {
        let Self { server, operator, nodes, agents, sidecars, .. } = self;
        [server, operator].into_iter().chain(nodes).chain(agents).chain(sidecars)
    }
}

/// A process that agents can measure: the workloads of this simulation, and their sidecars.
struct Workload(Child);

impl Workload {
    fn start() -> Self {
        Self(Command::new("sleep").arg("3600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn credentials(&self) -> PeerCredentials {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        PeerCredentials { pid: self.pid(), uid, gid }
    }

    /// The digest of its executable, which may act as a sidecar.
    fn digest(&self) -> String {
        let executable = std::fs::read(format!("/proc/{}/exe", self.pid())).unwrap();
        Digest::new(sekisho_ledger::sha256_of(&executable)).to_string()
    }
}

/// In each fourth seed the second sidecar is a program that embeds the library.
pub(super) const fn has_library(seed: u64, index: usize) -> bool {
    seed % 4 == 3 && index == 1
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _stopped = self.0.kill().and_then(|()| self.0.wait());
    }
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A task that panics is caught by its runtime: it is counted here.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.set(0);
}

/// Runs one seed.
pub fn simulate(seed: u64) -> Outcome {
    count_panics();
    let mut world = World::new(seed);
    while world.at < END && world.model.known().broken.is_none() && !world.is_over() {
        world.step();
    }
    world.finish()
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let fabric = Fabric::new(seed);
        let host = |name: &str, number: u64, last: u8| {
            let address = IpAddr::from([10, 0, u8::try_from(number / 16).unwrap_or(0), last]);
            Host::new(name, seed.wrapping_mul(1_000_003).wrapping_add(number), address, &fabric)
        };
        let nodes = (0..NODES).map(|number| host(&format!("node-{number}"), 16 + number as u64, number as u8 + 1));
        let agents = (0..AGENTS).map(|number| host(&format!("agent-{number}"), 32 + number as u64, number as u8 + 1));
        let agents: Vec<Host> = agents.collect();
        let workload = Workload::start();
        let sidecars = agents.iter().enumerate().map(|(number, agent)| {
            let own_seed = seed.wrapping_mul(1_000_003).wrapping_add(48 + number as u64);
            let sidecar = Host::new(&format!("side-{number}"), own_seed, agent.machine.address(), &fabric);
            sidecar.machine.set_process(workload.credentials());
            sidecar
        });
        let sidecars: Vec<Host> = sidecars.collect();
        // In a part of the seeds they are slow: what they report too early is seen.
        if seed % 7 == 1 {
            sidecars.iter().for_each(|sidecar| sidecar.machine.set_long_work(3));
        }
        let server = host("server", 1, 1);
        if seed.is_multiple_of(3) {
            server.machine.device::<MemoryDevice>().install();
        }
        Self {
            at: Duration::ZERO,
            model: Model::default(),
            chance: host("chance", 200, 9).machine,
            machines: Machines {
                server,
                operator: host("operator", 2, 1),
                nodes: nodes.collect(),
                sidecars,
                agents,
                ahead: 0,
                is_rotated: false,
                has_rested: false,
            },
            network: Network { fabric: fabric.clone(), parted: BTreeSet::new(), stalled: BTreeSet::new() },
            is_calm: false,
            seed,
            folder,
            workload,
        }
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn note(&self, who: &str, what: &str) {
        self.model.note_at(self.at, who, what);
    }

    fn step(&mut self) {
        if !self.is_calm && self.at >= CALM_AT {
            self.calm();
        }
        if self.is_settled() && self.centre_gone().is_none() {
            self.centre_goes();
        }
        self.start_what_is_down();
        self.faults();
        self.rotate();
        self.sidecar_rests();
        self.rests();
        self.note_trouble();
        self.note_numbers();
        self.at += STEP;
        let (at, mut stopped) = (self.at, vec![]);
        for host in self.machines.all() {
            if let Some(how) = host.run_until(at) {
                stopped.push((host.name.clone(), how));
            }
        }
        if PANICS.get() > 0 {
            self.model.broken("a task panicked", "see standard error");
        }
        for (name, how) in stopped {
            self.stopped(&name, &how);
        }
    }

    /// Each second: what all machines have drawn so far. Two runs that differ in anything soon differ here.
    fn note_numbers(&mut self) {
        if !self.at.as_millis().is_multiple_of(1000) {
            return;
        }
        let drawn = self.machines.all().fold(0u64, |drawn, host| drawn.rotate_left(7) ^ host.machine.random());
        self.note("chance", &format!("{drawn:016x}"));
    }

    fn stopped(&mut self, name: &str, how: &Result<(), String>) {
        let why =
            how.as_ref().err().map_or("stopped", String::as_str).replace(&self.folder.path().display().to_string(), "");
        self.note(name, &format!("stops: {why}"));
        let has_failed_disk = self.has_failed_disk(name);
        let has_cache = self.data(name).join("cache.sealed").exists();
        self.agent_stops(name);
        match self.machines.agents.iter_mut().find(|agent| agent.name == name) {
            // An agent whose token was used in vain, or that could not reach the server, is started again.
            Some(agent) if !has_cache && !why.contains("panicked") => {
                agent.starts_at = Some(self.at + Duration::from_millis(700));
                self.model.known().for_agents.remove(name);
            }
            _ if has_failed_disk && !why.contains("panicked") => {
                self.model.stops(name, self.at);
                let sidecar = self.machines.sidecars.iter_mut().find(|sidecar| sidecar.name == name);
                sidecar.into_iter().for_each(|sidecar| sidecar.starts_at = Some(self.at + Duration::from_millis(700)));
            }
            _ => self.model.broken("a program stopped", &format!("{name}: {why}")),
        }
    }

    /// Whether it is a sidecar whose disk has failed in its run.
    fn has_failed_disk(&self, name: &str) -> bool {
        self.machines.sidecars.iter().any(|sidecar| sidecar.name == name && sidecar.failures_of_run() > 0)
    }

    fn start_what_is_down(&mut self) {
        let at = self.at;
        let is_due = |host: &Host| !host.is_up() && host.starts_at.is_none_or(|due| due <= at);
        let (data, socket) = (self.data("server"), self.data("server").join("api.sock"));
        if is_due(&self.machines.server) {
            self.note("server", "starts");
            self.machines.server.start(at, || fleet::server(data));
        }
        if is_due(&self.machines.operator) {
            let has_library = has_library(self.seed, 1);
            let operator = Operator { socket, model: self.model.clone(), has_library };
            self.machines.operator.start(at, || operator.run());
        }
        for host in &mut self.machines.nodes {
            if is_due(host) {
                let node = Node::new(host.name.clone(), SERVER.to_owned(), self.model.clone());
                host.start(at, || node.run());
            }
        }
        for at_index in 0..self.machines.agents.len() {
            if is_due(&self.machines.agents[at_index]) {
                self.start_agent(at_index);
            }
            if is_due(&self.machines.sidecars[at_index]) {
                self.start_sidecar(at_index);
            }
        }
    }

    /// Starts an agent once it has a token, or what an earlier run kept.
    fn start_agent(&mut self, index: usize) {
        let name = self.machines.agents[index].name.clone();
        let data = self.data(&name);
        let fingerprints: Vec<String> = self.model.known().authorities.iter().map(ToString::to_string).collect();
        if fingerprints.is_empty() {
            return;
        }
        if !data.join("cache.sealed").exists() {
            let token = self.model.known().for_agents.get(&name).cloned();
            let Some(token) = token else {
                self.model.known().wants_token.insert(name);
                return;
            };
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("token"), token).unwrap();
        }
        self.note(&name, "starts");
        {
            let mut known = self.model.known();
            known.agent_sockets.insert(name, data.join("agent.sock"));
            known.sidecars.agent_started.insert(self.machines.sidecars[index].name.clone(), self.at);
        }
        let (at, sidecar) = (self.at, self.workload.digest());
        let agent = || fleet::agent(data, SERVER.to_owned(), fingerprints.join(","), sidecar);
        self.machines.agents[index].start(at, agent);
    }

    fn start_sidecar(&mut self, index: usize) {
        let listens = |host: &Host| SocketAddr::new(host.machine.address(), 9443);
        let sidecars = &self.machines.sidecars;
        let (own, peer) = (&sidecars[index], &sidecars[(index + 1) % sidecars.len()]);
        let sidecar = Sidecar {
            name: own.name.clone(),
            agent: self.data(&self.machines.agents[index].name).join("agent.sock"),
            data: self.data(&own.name),
            // In a part of the seeds an outage fills it.
            spool_bytes: if self.seed % 5 == 2 { SMALL_SPOOL } else { LARGE_SPOOL },
            pid: self.workload.pid(),
            is_library: has_library(self.seed, index),
            listen: listens(own),
            peer: (peer.name.clone(), listens(peer)),
            model: self.model.clone(),
        };
        self.note(&sidecar.name, "starts");
        std::fs::create_dir_all(&sidecar.data).unwrap();
        let at = self.at;
        self.machines.sidecars[index].start(at, || sidecar.run());
    }

    fn pairs(&self) -> Vec<Pair> {
        let Machines { sidecars, agents, .. } = &self.machines;
        let pair = |(sidecar, agent): (&Host, &Host)| Pair { sidecar: sidecar.name.clone(), agent: agent.name.clone() };
        sidecars.iter().zip(agents).map(pair).collect()
    }

    fn is_settled(&self) -> bool {
        let known = self.model.known();
        self.is_calm
            && known.compared.is_none()
            && known.last_deleted.is_some_and(|last| self.at > last + Duration::from_secs(2))
    }

    fn centre_gone(&self) -> Option<Duration> {
        self.model.known().sidecars.centre_gone
    }

    fn is_over(&self) -> bool {
        self.centre_gone().is_some_and(|gone| self.at > gone + LAST_OUTAGE)
    }

    fn finish(mut self) -> Outcome {
        let is_settled = self.is_settled();
        let at = self.at;
        self.machines.sidecars.iter().for_each(|sidecar| self.model.stops(&sidecar.name, at));
        self.machines.all().for_each(|host| host.crash(at));
        let compared = self.model.known().compared.clone();
        let mut broken = self.model.known().broken.take();
        if let Some(different) = compared.filter(|_| !is_settled) {
            broken.get_or_insert_with(|| format!("convergence: {different}"));
        }
        let audited = audit::check(&self.data("server"), &self.model).and_then(|audited| {
            records::check(self.folder.path(), &self.pairs(), &audited.batches, &self.model.known().decisions)?;
            Ok(audited.size)
        });
        let log_size = *audited.as_ref().unwrap_or(&0);
        if let Err(error) = audited {
            broken.get_or_insert(error);
        }
        let mut known = self.model.known();
        Outcome { trace: std::mem::take(&mut known.trace), broken, log_size, counts: std::mem::take(&mut known.counts) }
    }
}
