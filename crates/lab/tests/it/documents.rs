//! Pages whose commands a reader types: `docs/tutorial.md`, `docs/quick-start.md` and `docs/two-hosts.md`. Each command
//! is run from the text of the page, and its output is compared with the block that follows it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::pages::{documents, fits, steps};
use crate::world::{manifest_folder, program};

/// A shell on a host: a network namespace, and a mount namespace in which `/var/lib/sekisho` and `/run` are its own.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn on(namespace: &str, folder: &Path, environment: &[(&str, PathBuf)]) -> Self {
        let own = "mkdir -p /var/lib/sekisho && mount -t tmpfs none /var/lib/sekisho && mount -t tmpfs none /run \
                   && exec bash";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "unshare", "--mount", "setsid", "sh", "-ec", own]);
        command.current_dir(folder).envs(environment.iter().map(|(name, value)| (*name, value)));
        for name in ["SEKISHO_SERVER_SOCKET", "SEKISHO_AGENT_SOCKET", "SPIFFE_ENDPOINT_SOCKET"] {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("  {line}");
                let _gone = send.send(line);
            }
        });
        Self { child, input, lines }
    }

    /// Types one command and waits until it is done; of a daemon, until it serves. Returns what it printed.
    fn run(&mut self, command: &str) -> String {
        println!("$ {command}");
        let daemon = command.ends_with('&');
        writeln!(self.input, "{command}").unwrap();
        if daemon {
            return self.wait(command, |line| line.starts_with("ready ").then_some(())).1;
        }
        // On a line of its own, whatever the command printed last.
        writeln!(self.input, "printf '\\n::done %s\\n' $?").unwrap();
        let (code, printed) = self.wait(command, |line| line.strip_prefix("::done ").map(str::to_owned));
        // A page may show a command that fails (exit code 2 means that the answer is negative).
        assert!(code == "0" || (code == "2" && command.ends_with("# no")), "{command}: exit code {code}");
        printed
    }

    /// What `wanted` finds in a line, and the lines before it.
    fn wait<T>(&self, command: &str, wanted: impl Fn(&str) -> Option<T>) -> (T, String) {
        let end = Instant::now() + Duration::from_secs(60);
        let mut printed = String::new();
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no output of `{command}` within 60 s"));
            if let Some(found) = wanted(&line) {
                return (found, printed);
            }
            printed.push_str(&format!("{line}\n"));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its jobs are in the session that it leads; the last started ends first.
        let _unread = writeln!(self.input, "for j in $(jobs -p | tac); do kill $j; wait $j; done 2>/dev/null; exit");
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Two hosts with a wire between them; gone when dropped.
struct Hosts([String; 2]);

impl Hosts {
    fn new(name: &str) -> Option<Self> {
        let id = std::process::id();
        let names = [format!("sek{name}{id}a"), format!("sek{name}{id}b")];
        let [a, b] = &names;
        let (wire_a, wire_b) = (format!("{name}{}a", id % 100_000), format!("{name}{}b", id % 100_000));
        let script = format!(
            "ip netns add {a}; ip netns add {b}
             ip link add {wire_a} netns {a} type veth peer name {wire_b} netns {b}
             ip -n {a} addr add 10.87.0.1/24 dev {wire_a}; ip -n {b} addr add 10.87.0.2/24 dev {wire_b}
             for n in {a} {b}; do ip -n $n link set lo up; done
             ip -n {a} link set {wire_a} up; ip -n {b} link set {wire_b} up"
        );
        let new = Self(names.clone());
        let made = Command::new("sh").arg("-ec").arg(script).output().ok()?;
        if !made.status.success() {
            crate::world::skipped(&format!("no network namespaces here: {}", String::from_utf8_lossy(&made.stderr)));
            return None;
        }
        Some(new)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.0 {
            let _gone = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// A target folder as the pages expect it, whichever profile and place these programs were built in.
fn target(folder: &Path) -> PathBuf {
    let target = folder.join("target");
    std::fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(program("sekisho").parent().unwrap(), target.join("debug")).unwrap();
    target
}

fn follow(page: &str, name: &str, working: impl Fn(&Path) -> PathBuf) {
    let Some(hosts) = Hosts::new(name) else { return };
    let folder = tempfile::Builder::new().prefix("sek").tempdir_in("/tmp").unwrap();
    let target = target(folder.path());
    let path = format!("{}:{}", target.join("debug").display(), std::env::var("PATH").unwrap());
    let environment = [("CARGO_TARGET_DIR", target), ("PATH", path.into()), ("TMPDIR", folder.path().to_owned())];
    let working = working(folder.path());
    let text = std::fs::read_to_string(documents().join(page)).unwrap();
    let steps = steps(&text);
    assert!(steps.len() > 10, "{steps:?}");
    let mut shells = hosts.0.each_ref().map(|namespace| Shell::on(namespace, &working, &environment));
    for step in steps {
        let host = usize::from(step.host == "B");
        let printed = shells[host].run(&step.command);
        if let Some(shown) = &step.shows {
            assert!(fits(shown, &printed), "{}\nshown:\n{shown}\nprinted:\n{printed}", step.command);
        }
    }
}

/// An empty folder to work in.
fn empty(folder: &Path) -> PathBuf {
    let working = folder.join("work");
    std::fs::create_dir(&working).unwrap();
    working
}

#[test]
fn the_tutorial_runs_and_prints_what_it_shows() {
    follow("tutorial.md", "l", empty);
}

#[test]
fn the_quick_start_runs_as_written() {
    follow("quick-start.md", "q", |_| std::fs::canonicalize(manifest_folder().join("../..")).unwrap());
}

#[test]
fn the_page_on_two_hosts_runs_as_written() {
    follow("two-hosts.md", "t", empty);
}
