//! A running system, made by hand with the same commands as a user would give: other names, other policies than `dev`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const TRUST_DOMAIN: &str = "example.org";

/// This package's folder, asked at run time: a build may be shared between checkouts.
pub fn manifest_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// A built program of this workspace.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join(name);
    assert!(path.is_file(), "{} is not built; `make test` builds it first", path.display());
    path
}

/// A child process that dies with the test.
pub struct Role {
    pub child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    /// What it wrote to stderr.
    said: Arc<Mutex<String>>,
    /// How long it may take to end when it is asked to. A role waits for connections, and a test often holds some.
    patience: Duration,
}

impl Role {
    pub fn start(command: &mut Command) -> Self {
        // An ordinary user's agent cannot measure a sidecar that is closed to it.
        if !sekisho_host::traces_others() {
            command.env("SEKISHO_DANGER_DUMPABLE", "true");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) =
            (BufReader::new(child.stdout.take().unwrap()), BufReader::new(child.stderr.take().unwrap()));
        let said = Arc::<Mutex<String>>::default();
        let hears = said.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("{line}");
                hears.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _gone = send.send(line);
            }
        });
        Self { child, lines, said, patience: Duration::from_secs(1) }
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The first line that `wanted` makes something of.
    pub fn wait_for<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the role said nothing of the kind within 20 s");
            if let Some(found) = wanted(&line) {
                return found;
            }
        }
    }

    pub fn ready(&self) -> String {
        self.wait_for(|line| line.strip_prefix("ready ").map(str::to_owned))
    }

    /// The identity of a sidecar that is ready.
    pub fn ready_as(&self) -> String {
        self.ready().split(' ').next().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// SIGKILL: nothing is tidied up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Role {
    fn end(&mut self) {
        // An abort or a fault prints no panic.
        let fault = self.child.try_wait().ok().flatten().and_then(|status| status.signal());
        let killed = fault.is_none_or(|signal| [9, 15].contains(&signal));
        assert!(killed || std::thread::panicking(), "a role was ended by signal {fault:?}: {}", self.stderr());
        // Asked first, so that a sidecar ends its workload too.
        let _asked = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let end = Instant::now() + self.patience;
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.end();
        // One task's panic does not stop the program, and no other check finds it.
        if !std::thread::panicking() {
            assert!(!self.stderr().contains("panicked at"), "a role panicked: {}", self.stderr());
        }
    }
}

/// A server with an attested agent, in a folder that goes away.
///
/// Fields are dropped in order: the roles end before their folder goes.
pub struct World {
    pub agent: Option<Role>,
    pub server: Option<Role>,
    pub address: String,
    pub agent_id: String,
    pub server_options: Vec<String>,
    pub server_environment: Vec<(String, String)>,
    pub agent_environment: Vec<(String, String)>,
    /// How much the roles say.
    pub log: &'static str,
    /// The folder of the agent that verbs ask.
    pub agent_data: String,
    /// The authority's fingerprint, asked once.
    pub fingerprint: std::sync::OnceLock<String>,
    pub folder: tempfile::TempDir,
}

impl World {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(server_options: &[&str]) -> Self {
        Self::with_environment(server_options, vec![], vec![])
    }

    /// Without a server and without an agent.
    pub fn nowhere() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: None,
            agent: None,
            address: "127.0.0.1:0".into(),
            agent_id: String::new(),
            server_options: vec![],
            server_environment: vec![],
            agent_environment: vec![],
            log: "warn",
            agent_data: "a".into(),
            fingerprint: std::sync::OnceLock::new(),
        }
    }

    /// With environment variables for the server and for the agent.
    pub fn with_environment(
        server_options: &[&str],
        server_environment: Vec<(String, String)>,
        agent_environment: Vec<(String, String)>,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("sek").tempdir_in("/tmp").unwrap();
        std::fs::create_dir(folder.path().join("policy")).unwrap();
        std::fs::write(folder.path().join("policy/p.rego"), POLICY).unwrap();
        let server_options = server_options.iter().map(|&option| option.to_owned()).collect();
        let mut world = Self::nowhere();
        (world.folder, world.server_options) = (folder, server_options);
        (world.server_environment, world.agent_environment) = (server_environment, agent_environment);
        world.start_server();
        world.start_agent();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start_server(&mut self) {
        let mut command = Command::new(program("sekisho"));
        command.args(["server", "--trust-domain", TRUST_DOMAIN, "--log", self.log, "--listen", &self.address]);
        command.arg("--data").arg(self.path("s")).arg("--policy-folder").arg(self.path("policy"));
        let mut server = Role::start(command.args(&self.server_options).envs(self.server_environment.clone()));
        self.address = server.ready().split(' ').next().unwrap().to_owned();
        // A test that stops it means a stop that is not a crash.
        server.patience = Duration::from_secs(10);
        self.server = Some(server);
    }

    pub fn start_agent(&mut self) {
        let token = self.path("token");
        if self.agent_id.is_empty() {
            let made = self.json(&["token", "create", "--file", token.to_str().unwrap()]);
            self.agent_id = made["agent_id"].as_str().unwrap().to_owned();
        }
        let mut agent = Role::start(&mut self.agent_command("a", &token));
        agent.ready();
        agent.patience = Duration::from_secs(10);
        self.agent = Some(agent);
    }

    pub fn agent_command(&self, data: &str, token: &Path) -> Command {
        let fingerprint = match self.server {
            Some(_) => self.text(&["bundle", "show", "--form", "fingerprint"]),
            None => "00".repeat(32),
        };
        let mut command = Command::new(program("sekisho"));
        command.args(["agent", "--trust-domain", TRUST_DOMAIN, "--log", self.log, "--server", &self.address]);
        command.arg("--data").arg(self.path(data)).arg("--join-token-file").arg(token);
        command.args(["--fingerprint", fingerprint.lines().next().unwrap()]);
        command.envs(self.agent_environment.clone());
        command
    }

    /// The command line against this world's sockets: exit code, stdout, stderr.
    pub fn sekisho(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(program("sekisho"))
            .args(arguments)
            .env("SEKISHO_SERVER_SOCKET", self.path("s/api.sock"))
            .env("SEKISHO_AGENT_SOCKET", self.agent_socket())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    pub fn text(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.sekisho(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    /// Like `text`, as JSON; exit code 2 is an answer too.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.sekisho(&[arguments, &["-o", "json"]].concat());
        assert!(code == 0 || code == 2, "{arguments:?}: exit {code}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{err}"))
    }

    /// All leaves of a kind, in order, from the log's files.
    pub fn leaves(&self, kind: &str) -> Vec<Value> {
        self.all_leaves().into_iter().filter(|leaf| leaf["kind"] == kind).collect()
    }

    /// The log from its files.
    pub fn all_leaves(&self) -> Vec<Value> {
        let folder = self.path("s/ledger");
        eventually("the bundles of a checkpoint", || read_log(&folder))
    }

    /// Waits until the openings beside the log's leaves contain this text.
    pub fn log_says(&self, text: &str) {
        let side = self.path("s/ledger/side");
        eventually(&format!("{text:?} in the log"), || {
            let grep = Command::new("grep").args(["-rqaF", text]).arg(&side).status().unwrap();
            grep.success().then_some(())
        });
    }

    /// Replaces the policy and waits for the revision.
    pub fn set_policy(&self, text: &str) {
        let revision = || {
            let shown = self.sekisho(&["policy", "show", "-o", "json"]).1;
            serde_json::from_str::<Value>(&shown).ok().and_then(|shown| shown["revision"].as_u64()).unwrap_or(0)
        };
        let before = eventually("a first revision", || Some(revision()).filter(|revision| *revision > 0));
        std::fs::write(self.path("policy/p.rego"), text).unwrap();
        eventually("the new revision", || (revision() > before).then_some(()));
    }

    /// Server and agent look at their timers: a clock that a test sets ahead wakes neither.
    pub fn wakes(&self) {
        for socket in [self.path("s/api.sock"), self.agent_socket()] {
            let _absent = UnixStream::connect(socket);
        }
    }

    /// How many SVIDs were issued by an entry.
    pub fn issued(&self, entry: &str) -> usize {
        self.leaves("issuance").iter().filter(|leaf| leaf["entry"] == entry).count()
    }

    pub fn agent_socket(&self) -> PathBuf {
        self.path(&self.agent_data).join("agent.sock")
    }

    /// Registers an identity and waits until the agent knows of it. An executable alone is asked of this user.
    pub fn register(&self, path: &str, selectors: &[String]) -> String {
        self.register_with(path, selectors, &[])
    }

    /// Likewise, with further options of `entry create`.
    pub fn register_with(&self, path: &str, selectors: &[String], options: &[&str]) -> String {
        let selectors = &bound(selectors);
        let id = format!("spiffe://{TRUST_DOMAIN}{path}");
        let mut arguments = vec!["entry", "create", "--spiffe-id", &id, "--parent-id", &self.agent_id];
        for selector in selectors {
            arguments.extend(["--selector", selector.as_str()]);
        }
        arguments.extend(options);
        let entry = self.json(&arguments)["id"].as_str().unwrap().to_owned();
        let asked = selectors.join(",");
        eventually("the agent hears of a new entry", || {
            let why = self.json(&["why", "identity", "--selectors", &asked]);
            why["matched"].as_array().unwrap().iter().any(|e| e["id"] == entry.as_str()).then_some(())
        });
        entry
    }

    /// This test process: its executable, and its user.
    pub fn own_selectors() -> Vec<String> {
        let exe = std::env::current_exe().unwrap();
        vec![format!("unix:path:{}", exe.display()), format!("unix:uid:{}", sekisho_host::own_uid())]
    }

    /// A sample service under another name, behind a sidecar; `upstream` and `outbound` as the sidecar takes them.
    pub fn sidecar(&self, name: &str, sample: &str, options: &[&str], environment: &[(&str, &str)]) -> Role {
        let copy = self.path(&format!("bin-{name}"));
        if !copy.exists() {
            copy_program(&program(sample), &copy);
        }
        let mut command = Command::new(program("sekisho"));
        command
            .args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", self.log, "--agent-socket"])
            .arg(self.agent_socket());
        command.arg("--data").arg(self.path(name)).args(options).arg("--").arg(copy).envs(environment.iter().copied());
        Role::start(&mut command)
    }
}

/// The test is over.
impl Drop for World {
    fn drop(&mut self) {
        for role in [&mut self.agent, &mut self.server].into_iter().flatten() {
            role.patience = Duration::from_millis(300);
        }
    }
}

/// Selectors that ask for this user if they ask for none.
pub fn bound(selectors: &[String]) -> Vec<String> {
    let parsed = selectors.iter().map(|text| sekisho_types::Selector::parse(text).unwrap()).collect();
    let own = format!("unix:uid:{}", sekisho_host::own_uid());
    let further = sekisho_identity::is_for_any_user(&parsed).then_some(own);
    selectors.iter().cloned().chain(further).collect()
}

/// The leaves of the log in a folder, up to its checkpoint. The partial bundle of a checkpoint goes with the next one.
pub fn read_log(folder: &Path) -> Option<Vec<Value>> {
    let note = std::fs::read_to_string(folder.join("checkpoint")).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let mut out = vec![];
    for number in 0..size.div_ceil(256) {
        let bytes = std::fs::read(folder.join(sekisho_ledger::bundle_path(number, size).unwrap().path)).ok()?;
        let entries = sekisho_ledger::Bundle::entries(&bytes).unwrap();
        out.extend(entries.into_iter().map(|leaf| serde_json::from_slice::<Value>(leaf).unwrap()));
    }
    Some(out)
}

/// SHA-256 of a file, by another program than ours.
pub fn digest(path: &std::path::Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_owned()
}

/// Tries until something is there, for at most a minute: a loaded machine is slow.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says that this test could not be made here. `.ci/run` counts the tests that say so.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the harness, which shows nothing of a test that passes.
    let _unread = writeln!(std::io::stderr().lock(), "\nskipped: {test}: {}", why.trim().replace('\n', " "));
}

/// User and system time of a process, in microseconds.
pub fn cpu_micros(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    (fields[0] + fields[1]) * 10_000.0
}

pub fn rss_mb(pid: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// A port that is free, and that the kernel gives to no other socket which asks for any port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    let mut ports =
        std::iter::repeat_with(|| 10_000 + (first.wrapping_add(NEXT.fetch_add(1, Relaxed)) % 20_000) as u16);
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Copies a program by another process: a program that this process has open for writing cannot be run, and each child
/// that another test starts meanwhile has it open too.
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success(), "{} is not copied", to.display());
}

/// One raw HTTP/1.1 exchange; everything that came back.
pub fn raw(stream: &mut (impl Read + Write), request: &str) -> String {
    if stream.write_all(request.as_bytes()).is_err() {
        return String::new();
    }
    let mut answer = Vec::new();
    // A peer that resets the connection has sent its answer before.
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Rego v1, other names and other paths than the sample policy.
pub const POLICY: &str = r#"package workload.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["v1", "balance"]
	input.subject.spiffe_id == "spiffe://example.org/shop/till"
	input.destination == "spiffe://example.org/shop/ledger"
}
"#;
