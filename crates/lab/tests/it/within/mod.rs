//! A running system in the test's own process: server, agent and verbs are tasks of its runtime, on a simulated machine
//! with a network of its own (decisions/0038). The clock goes on when all of them wait, so that a week takes no time.
//!
//! It has the verbs of `world`, which are awaited here. What processes, signals, other users or the kernel do is tested
//! there. A test begins with `#[tokio::test(start_paused = true)]`.

mod output;
mod role;

use std::cell::Cell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lab::sim::options;
use sekisho_agent::AgentArgs;
use sekisho_disk::{DiskError, lock_folder};
use sekisho_ports::{Fabric, Machine, MachineGuard, UnixStream, now};
use sekisho_server::{DomainArgs, ServerArgs};
use sekisho_types::Digest;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use output::Output;
pub use role::Role;

use crate::peers::Place;
pub use crate::world::TRUST_DOMAIN;
use crate::world::read_log;

/// A server with an attested agent, in a folder that goes away.
pub struct World {
    pub agent: Option<Role>,
    pub server: Option<Role>,
    pub address: String,
    pub agent_id: String,
    pub server_options: Vec<String>,
    pub further: Vec<Further>,
    pub agent_options: Vec<String>,
    /// The folder of the agent that verbs ask.
    pub agent_data: String,
    fingerprint: String,
    folder: tempfile::TempDir,
    machine: Arc<Machine>,
    output: Output,
    _stay: MachineGuard,
}

/// A further trust domain of the server.
pub struct Further {
    pub trust_domain: &'static str,
    /// Its folder.
    pub data: &'static str,
    pub options: Vec<String>,
}

impl Further {
    fn args(&self, data: &Path) -> DomainArgs {
        let data = data.display().to_string();
        options(&with(&["--trust-domain", self.trust_domain, "--data", &data], &self.options))
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(server_options: &[&str]) -> Self {
        let mut world = Self::with_server(server_options).await;
        world.start_agent().await;
        world
    }

    /// Without an agent.
    pub async fn with_server(server_options: &[&str]) -> Self {
        let mut world = Self::nowhere();
        world.server_options = server_options.iter().map(|&option| option.to_owned()).collect();
        world.start_server().await;
        world
    }

    /// Without a server and without an agent.
    pub fn nowhere() -> Self {
        thread_local!(static WORLDS: Cell<u64> = const { Cell::new(0) });
        WORLDS.set(WORLDS.get() + 1);
        let output = Output::of_this_thread();
        let fabric = Fabric::new(WORLDS.get());
        fabric.set_delay(Duration::from_millis(1), Duration::ZERO);
        let machine = Machine::new(WORLDS.get(), [127, 0, 0, 1].into(), &fabric);
        // Certificates that other programs make are of today.
        machine.set_skew(now().nanos() - machine.time_of_day().nanos());
        let stay = machine.stay();
        machine.begin(Duration::ZERO);
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        Self {
            agent: None,
            server: None,
            address: "127.0.0.1:8081".into(),
            agent_id: String::new(),
            server_options: vec![],
            further: vec![],
            agent_options: vec![],
            agent_data: "a".into(),
            fingerprint: String::new(),
            folder,
            machine,
            output,
            _stay: stay,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn start_server(&mut self) {
        self.server = Some(self.try_server().await.unwrap());
        if self.fingerprint.is_empty() {
            self.fingerprint = self.text(&["bundle", "show", "--form", "fingerprint"]).await.trim().to_owned();
        }
    }

    /// A server, or why it did not start.
    pub async fn try_server(&self) -> Result<Role, String> {
        let data = self.path("s").display().to_string();
        let given = ["--trust-domain", TRUST_DOMAIN, "--data", &data, "--listen", &self.address];
        let mut args: ServerArgs = options(&with(&given, &self.server_options));
        args.further = self.further.iter().map(|domain| domain.args(&self.path(domain.data))).collect();
        let started = Role::start(&self.output, |stop, ready| async move {
            let served = sekisho_server::run(args, stop, |_, _| _ = ready.send(()));
            served.await.map_err(|error| error.to_string())
        })
        .await;
        if started.is_err() {
            self.let_go().await;
        }
        started
    }

    pub async fn stop_server(&mut self) {
        self.server.take().unwrap().end().await;
        self.let_go().await;
    }

    /// Waits until no task holds the server's log any more: the end of a process closes all.
    async fn let_go(&self) {
        let folders = self.further.iter().map(|domain| domain.data).chain(["s"]);
        let ledgers: Vec<PathBuf> = folders.map(|folder| self.path(folder).join("ledger")).collect();
        let is_free = || {
            // A child that another test starts has what this process has open, until it runs its program.
            std::thread::sleep(Duration::from_millis(1));
            ledgers.iter().all(|ledger| !matches!(lock_folder(ledger), Err(DiskError::InUse(_))))
        };
        eventually("the log is let go", async || is_free().then_some(())).await;
    }

    pub async fn start_agent(&mut self) {
        let token = self.path("token");
        if self.agent_id.is_empty() {
            let made = self.json(&["token", "create", "--file", token.to_str().unwrap()]).await;
            self.agent_id = made["agent_id"].as_str().unwrap().to_owned();
        }
        self.agent = Some(self.try_agent("a", &["--join-token-file", token.to_str().unwrap()]).await.unwrap());
    }

    /// An agent with its data in this folder, or why it did not start.
    pub async fn try_agent(&self, data: &str, further: &[&str]) -> Result<Role, String> {
        self.try_agent_of(TRUST_DOMAIN, data, further).await
    }

    /// Likewise, of this trust domain.
    pub async fn try_agent_of(&self, trust_domain: &str, data: &str, further: &[&str]) -> Result<Role, String> {
        let data = self.path(data).display().to_string();
        let given = ["--trust-domain", trust_domain, "--data", &data, "--server", &self.address];
        // The first contact is by another authority if a test says so.
        let named = further.contains(&"--fingerprint");
        let contact = if named { vec![] } else { vec!["--fingerprint", &self.fingerprint] };
        let args: AgentArgs = options(&with(&[&given[..], &contact, further].concat(), &self.agent_options));
        Role::start(&self.output, |stop, ready| async move {
            let served = sekisho_agent::run(args, stop, |_| _ = ready.send(()));
            served.await.map_err(|error| error.to_string())
        })
        .await
    }

    pub async fn stop_agent(&mut self) {
        self.agent.take().unwrap().end().await;
    }

    /// The command line against this world's sockets: exit code, what it prints, what it writes to stderr. An argument
    /// that begins with `./` is a file of this world's folder.
    pub async fn sekisho(&self, arguments: &[&str]) -> (i32, String, String) {
        self.sekisho_at("s", &self.agent_data, arguments).await
    }

    /// The same against the server and the agent with these data folders.
    pub async fn sekisho_at(&self, server: &str, agent: &str, arguments: &[&str]) -> (i32, String, String) {
        let own = |argument: &&str| match argument.strip_prefix("./") {
            Some(name) => self.path(name).into_os_string(),
            None => argument.into(),
        };
        let (server, agent) = (self.path(server).join("api.sock"), self.path(agent).join("agent.sock"));
        let sockets = asks(arguments).iter().flat_map(|option| {
            let socket = if *option == SERVER_SOCKET { &server } else { &agent };
            [(*option).into(), socket.clone().into_os_string()]
        });
        let given: Vec<OsString> = arguments.iter().map(own).chain(sockets).collect();
        let answer = if is_of_files(arguments) { elsewhere(given) } else { sekisho::answer(given).await };
        (answer.code.into(), answer.printed, answer.said + &answer.failure)
    }

    pub async fn text(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.sekisho(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    /// Like `text`, as JSON; exit code 2 is an answer too.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.sekisho(&[arguments, &["-o", "json"]].concat()).await;
        assert!(code == 0 || code == 2, "{arguments:?}: exit {code}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{err}"))
    }

    /// All leaves of a kind, in order, from the log's files.
    pub async fn leaves(&self, kind: &str) -> Vec<Value> {
        self.all_leaves().await.into_iter().filter(|leaf| leaf["kind"] == kind).collect()
    }

    /// The log from its files.
    pub async fn all_leaves(&self) -> Vec<Value> {
        let folder = self.path("s/ledger");
        eventually("the bundles of a checkpoint", async || read_log(&folder)).await
    }

    /// Waits until the openings beside the log's leaves hold this text.
    pub async fn log_says(&self, text: &str) {
        let side = self.path("s/ledger/side");
        eventually(&format!("{text:?} in the log"), async || holds(&side, text.as_bytes()).then_some(())).await;
    }

    pub fn agent_socket(&self) -> PathBuf {
        self.path(&self.agent_data).join("agent.sock")
    }

    /// Registers an identity and waits until the agent knows of it. An executable alone is asked of this user.
    pub async fn register(&self, path: &str, selectors: &[String]) -> String {
        self.register_with(path, selectors, &[]).await
    }

    /// Likewise, with further options of `entry create`.
    pub async fn register_with(&self, path: &str, selectors: &[String], further: &[&str]) -> String {
        let (id, selectors) = (format!("spiffe://{TRUST_DOMAIN}{path}"), crate::world::bound(selectors));
        let mut arguments = vec!["entry", "create", "--spiffe-id", &id, "--parent-id", &self.agent_id];
        selectors.iter().for_each(|selector| arguments.extend(["--selector", selector.as_str()]));
        arguments.extend(further);
        let entry = self.json(&arguments).await["id"].as_str().unwrap().to_owned();
        let asked = selectors.join(",");
        eventually("the agent hears of a new entry", async || {
            let why = self.json(&["why", "identity", "--selectors", &asked]).await;
            why["matched"].as_array().unwrap().iter().any(|e| e["id"] == entry.as_str()).then_some(())
        })
        .await;
        entry
    }

    /// This test process: its executable, and its user.
    pub fn own_selectors() -> Vec<String> {
        crate::world::World::own_selectors()
    }

    /// One raw HTTP/1.1 exchange on a Unix socket of this world; everything that came back.
    pub async fn raw(&self, socket: &str, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.path(socket)).await.unwrap();
        let mut answer = vec![];
        // A peer may reset when it has sent all.
        if stream.write_all(request.as_bytes()).await.is_ok() {
            let _reset = stream.read_to_end(&mut answer).await;
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The time of day jumps by so much, ahead or back; nothing else notices.
    pub fn jump(&self, seconds: i64) {
        self.machine.set_skew(self.machine.skew() + seconds * 1_000_000_000);
    }

    /// What server and agents wrote to their logs so far.
    pub fn logged(&self) -> String {
        self.output.text()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // One task's panic ends no program, and is found here only.
        assert!(std::thread::panicking() || self.output.panics() == 0, "a task panicked: {}", self.logged());
        let has_stopped = self.server.as_ref().is_some_and(Role::has_stopped);
        assert!(std::thread::panicking() || !has_stopped, "the server has stopped: {}", self.logged());
    }
}

impl Place for World {
    fn address(&self) -> &str {
        &self.address
    }

    fn authority(&self) -> Digest {
        Digest::parse(&self.fingerprint).unwrap()
    }

    async fn ask(&self, arguments: &[&str]) -> Value {
        self.json(arguments).await
    }
}

const SERVER_SOCKET: &str = "--server-socket";
const AGENT_SOCKET: &str = "--agent-socket";

/// Which sockets a verb takes.
fn asks(arguments: &[&str]) -> &'static [&'static str] {
    let verb = (arguments[0].trim_end_matches('s'), arguments.get(1).copied().unwrap_or_default());
    match verb {
        ("why" | "doctor", _) => &[SERVER_SOCKET, AGENT_SOCKET],
        ("svid", "fetch" | "jwt") => &[AGENT_SOCKET],
        ("policy", "check" | "test" | "eval") => &[],
        ("verify" | "attest" | "backup" | "restore" | "ledger" | "version", _) => &[],
        _ => &[SERVER_SOCKET],
    }
}

/// Whether a verb works on a server's files, and asks no server.
fn is_of_files(arguments: &[&str]) -> bool {
    ["backup", "restore", "ledger"].contains(&arguments[0])
}

/// Asks a verb as another program does, which is not on the simulated machine.
fn elsewhere(given: Vec<OsString>) -> sekisho::Answer {
    let asked = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(sekisho::answer(given))
    });
    asked.join().unwrap()
}

fn with<'a>(given: &[&'a str], further: &'a [String]) -> Vec<&'a str> {
    given.iter().copied().chain(further.iter().map(String::as_str)).collect()
}

/// Whether a file below this folder holds a text.
pub fn holds(folder: &Path, text: &[u8]) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|item| {
        let path = item.path();
        let found = || std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text));
        if path.is_dir() { holds(&path, text) } else { found() }
    })
}

/// Tries until something is there, for at most a minute of the simulated time.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within a minute");
}
