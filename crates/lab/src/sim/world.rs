//! The driver: machines, faults by seed, and time.

use std::cell::Cell;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use sekisho_disk::{LossyDisk, Unsynced};
use sekisho_ports::{Fabric, Machine};

use super::host::Host;
use super::model::Model;
use super::node::Node;
use super::operator::Operator;
use super::{audit, fleet};

const SERVER: &str = "10.0.0.1:8081";
/// What is sent to another machine arrives after this time or later.
const STEP: Duration = Duration::from_millis(10);
/// Faults happen until then.
const CALM_AT: Duration = Duration::from_secs(16);
/// By then all is compared.
const END: Duration = Duration::from_secs(60);
const NODES: usize = 3;
const AGENTS: usize = 2;

/// What became of a seed.
pub struct Outcome {
    pub trace: Vec<String>,
    /// The law that was broken, if one was.
    pub broken: Option<String>,
    pub log_size: u64,
    pub counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// A number that two runs of one seed share.
    pub fn digest(&self) -> String {
        let text = self.trace.join("\n");
        sekisho_ledger::sha256_of(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct World {
    at: Duration,
    fabric: Fabric,
    model: Model,
    /// Faults are drawn from its seed.
    chance: std::sync::Arc<Machine>,
    folder: tempfile::TempDir,
    server: Host,
    operator: Host,
    nodes: Vec<Host>,
    agents: Vec<Host>,
    is_calm: bool,
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
    while world.at < END && world.model.known().broken.is_none() && !world.is_settled() {
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
        Self {
            at: Duration::ZERO,
            model: Model::default(),
            chance: host("chance", 200, 9).machine,
            server: host("server", 1, 1),
            operator: host("operator", 2, 1),
            nodes: nodes.collect(),
            agents: agents.collect(),
            folder,
            fabric: fabric.clone(),
            is_calm: false,
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether something happens now that happens about once in `every` of the simulation.
    fn happens(&self, every: Duration) -> bool {
        !self.is_calm && (self.chance.random() % 1_000_000) < (STEP.as_micros() * 1_000_000 / every.as_micros()) as u64
    }

    fn random(&self, below: u64) -> u64 {
        self.chance.random() % below.max(1)
    }

    fn note(&self, who: &str, what: &str) {
        self.model.note_at(self.at, who, what);
    }

    fn step(&mut self) {
        if !self.is_calm && self.at >= CALM_AT {
            self.calm();
        }
        self.start_what_is_down();
        self.faults();
        self.at += STEP;
        let (at, mut ended) = (self.at, vec![]);
        let hosts = [&mut self.server, &mut self.operator].into_iter().chain(&mut self.nodes).chain(&mut self.agents);
        for host in hosts {
            if let Some(how) = host.run_until(at) {
                ended.push((host.name.clone(), how));
            }
        }
        if PANICS.get() > 0 {
            self.model.broken("a task panicked", "see standard error");
        }
        for (name, how) in ended {
            self.ended(&name, &how);
        }
    }

    fn ended(&mut self, name: &str, how: &Result<(), String>) {
        let why =
            how.as_ref().err().map_or("ended", String::as_str).replace(&self.folder.path().display().to_string(), "");
        self.note(name, &format!("ends: {why}"));
        match self.agents.iter_mut().find(|agent| agent.name == name) {
            // An agent whose token was used in vain, or that could not reach the server, is started again.
            Some(agent) if !why.contains("panicked") => {
                agent.starts_at = Some(self.at + Duration::from_millis(700));
                self.model.known().for_agents.remove(name);
            }
            _ => self.model.broken("a program ended", &format!("{name}: {why}")),
        }
    }

    fn start_what_is_down(&mut self) {
        let at = self.at;
        let is_due = |host: &Host| !host.is_up() && host.starts_at.is_none_or(|due| due <= at);
        let (data, socket) = (self.data("server"), self.data("server").join("api.sock"));
        if is_due(&self.server) {
            self.note("server", "starts");
            self.server.start(at, || fleet::server(data));
        }
        if is_due(&self.operator) {
            let operator = Operator { socket, model: self.model.clone() };
            self.operator.start(at, || operator.run());
        }
        for host in &mut self.nodes {
            if is_due(host) {
                let node = Node::new(host.name.clone(), SERVER.to_owned(), self.model.clone());
                host.start(at, || node.run());
            }
        }
        for at_index in 0..self.agents.len() {
            if is_due(&self.agents[at_index]) {
                self.start_agent(at_index);
            }
        }
    }

    /// Starts an agent once it has a token, or what an earlier run kept.
    fn start_agent(&mut self, index: usize) {
        let name = self.agents[index].name.clone();
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
        self.model.known().agent_sockets.insert(name, data.join("agent.sock"));
        let at = self.at;
        self.agents[index].start(at, || fleet::agent(data, SERVER.to_owned(), fingerprints.join(",")));
    }

    fn faults(&mut self) {
        let second = Duration::from_secs(1);
        if self.server.is_up() && self.at > second && self.happens(9 * second) {
            let down = Duration::from_millis(50 + self.random(4000));
            self.crash("server", down);
        }
        for index in 0..self.agents.len() {
            if self.agents[index].is_up() && self.happens(15 * second) {
                let (name, down) = (self.agents[index].name.clone(), Duration::from_millis(50 + self.random(5000)));
                self.crash(&name, down);
            }
        }
        let server = self.server.machine.address();
        let others: Vec<IpAddr> = self.nodes.iter().chain(&self.agents).map(|host| host.machine.address()).collect();
        for address in others {
            if self.happens(12 * second) {
                self.note("network", &format!("parts the server and {address}"));
                self.fabric.part(server, address);
            }
            if self.happens(6 * second) {
                self.fabric.join(server, address);
            }
            if self.happens(10 * second) {
                self.note("network", &format!("cuts the server and {address}"));
                self.fabric.cut(server, address);
            }
        }
        if self.happens(20 * second) {
            let nanos = (self.random(40) as i64 - 20) * 1_000_000_000;
            let which = self.random((NODES + AGENTS) as u64) as usize;
            if let Some(host) = self.nodes.iter().chain(&self.agents).nth(which) {
                self.note(&host.name, &format!("has a clock that is {} s ahead", nanos / 1_000_000_000));
                host.machine.set_skew(nanos);
            }
        }
    }

    fn crash(&mut self, name: &str, down: Duration) {
        let (at, loses_power) = (self.at, self.random(2) == 0);
        let unsynced = if self.random(2) == 0 { Unsynced::Kept } else { Unsynced::Lost };
        let folders: &[&str] = if name == "server" { &["ledger", "decisions"] } else { &["spool"] };
        let how = if loses_power { format!("loses power, unsynced is {unsynced:?}") } else { "crashes".to_owned() };
        self.note(name, &format!("{how}, back in {} ms", down.as_millis()));
        let folders: Vec<PathBuf> = folders.iter().map(|folder| self.data(name).join(folder)).collect();
        let host = if name == "server" {
            Some(&mut self.server)
        } else {
            self.agents.iter_mut().find(|host| host.name == name)
        };
        let Some(host) = host else { return };
        host.crash(at);
        host.starts_at = Some(at + down);
        if loses_power {
            let disk = host.machine.device::<LossyDisk>();
            for folder in folders.iter().filter(|folder| folder.is_dir()) {
                disk.lose_power_at(folder, unsynced).unwrap();
            }
        }
    }

    /// The network is whole, clocks are right, everything runs.
    fn calm(&mut self) {
        self.is_calm = true;
        self.fabric.join_all();
        self.model.known().is_calm = true;
        self.nodes.iter().chain(&self.agents).for_each(|host| host.machine.set_skew(0));
        self.note("network", "is whole again");
    }

    fn is_settled(&self) -> bool {
        self.is_calm && self.at > CALM_AT + Duration::from_secs(1) && self.model.known().compared.is_none()
    }

    fn finish(mut self) -> Outcome {
        let is_settled = self.is_settled();
        let at = self.at;
        let hosts = [&mut self.server, &mut self.operator].into_iter().chain(&mut self.nodes).chain(&mut self.agents);
        hosts.for_each(|host| host.crash(at));
        let compared = self.model.known().compared.clone();
        let mut broken = self.model.known().broken.take();
        if let Some(different) = compared.filter(|_| !is_settled) {
            broken.get_or_insert_with(|| format!("convergence: {different}"));
        }
        let checked = audit::check(&self.data("server"), &self.model);
        let log_size = *checked.as_ref().unwrap_or(&0);
        if let Err(error) = checked {
            broken.get_or_insert(error);
        }
        let mut known = self.model.known();
        Outcome { trace: std::mem::take(&mut known.trace), broken, log_size, counts: std::mem::take(&mut known.counts) }
    }
}
