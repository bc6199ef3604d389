//! Pages whose commands a reader types: `docs/tutorial.md`, `docs/quick-start.md` and `docs/two-hosts.md`. Each command is run
//! from the text of the page, and its output is compared with the block that follows it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::world::{manifest_folder, program};

/// One command of a page, its host, and the output that the page shows (`…` stands for any text).
#[derive(Debug, PartialEq, Eq)]
struct Step {
    host: String,
    command: String,
    shows: Option<String>,
}

/// What a fenced block holds.
#[derive(Clone, Debug)]
enum Block {
    Commands(String),
    Output,
    Other,
}

impl Block {
    fn of(kind: &str) -> Self {
        match kind.strip_prefix("sh") {
            Some(host) => Self::Commands(host.trim().to_owned()),
            None if kind == "text" => Self::Output,
            None => Self::Other,
        }
    }
}

/// The commands of the fenced `sh` blocks, in order. A command continues behind `\`, to the end of a loop, and to the end of
/// a here-document. A `text` block is the output of the command before it.
fn steps(page: &str) -> Vec<Step> {
    let (mut out, mut block, mut command) = (Vec::<Step>::new(), None::<Block>, String::new());
    for line in page.lines() {
        match (&block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some(Block::of(kind)),
            (Some(_), Some(_)) => {
                assert!(command.is_empty(), "a block is closed within a command: {command}");
                block = None;
            }
            (Some(Block::Output), None) => {
                let step = out.last_mut().unwrap_or_else(|| panic!("output without a command: {line}"));
                step.shows.get_or_insert_default().push_str(&format!("{line}\n"));
            }
            (None | Some(Block::Other), None) => {}
            (Some(Block::Commands(host)), None) => {
                command.push_str(line);
                let document = command.contains("<<'END'") && line != "END";
                let inner = command.starts_with("for ") && !line.starts_with("done");
                if line.ends_with('\\') || document || inner {
                    command.push('\n');
                } else if !command.trim().is_empty() {
                    out.push(Step { host: host.clone(), command: std::mem::take(&mut command), shows: None });
                }
            }
        }
    }
    out
}

/// Whether a text is what the page shows of it: `…` stands for any text, also for lines.
fn fits(shown: &str, printed: &str) -> bool {
    let plain = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned();
    let (shown, printed) = (plain(shown), plain(printed));
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// A shell on a host: a network namespace, and a mount namespace in which `/var/lib/sekisho` and `/run` are its own.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn on(namespace: &str, folder: &Path, environment: &[(&str, PathBuf)]) -> Self {
        let own = "mkdir -p /var/lib/sekisho && mount -t tmpfs none /var/lib/sekisho && mount -t tmpfs none /run && exec bash";
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
        // A page may show a command that fails (exit code 2 is "the answer is no").
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
    let text = std::fs::read_to_string(manifest_folder().join("../../docs").join(page)).unwrap();
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

#[test]
fn shown_output_fits_with_gaps() {
    assert!(fits("a … c\n", "a b c  \n"));
    assert!(fits("a\n…\nz\n", "a\nb\nc\nz\n"));
    assert!(!fits("a\n", "a\nb\n"));
    assert!(!fits("a … c\n", "a b d\n"));
}

#[test]
fn a_page_is_read_as_a_shell_would() {
    let page = "a\n```sh\nx \\\n  y\nfor s in 1; do\n  z\ndone\n\n```\n```\nno\n```\n```text\none …\ntwo\n```\n\
                ```sh B\ncat > f <<'END'\nq\nEND\n```\n";
    let step = |host: &str, command: &str, shows: Option<&str>| Step {
        host: host.into(),
        command: command.into(),
        shows: shows.map(str::to_owned),
    };
    let read = steps(page);
    let expected = [
        step("", "x \\\n  y", None),
        step("", "for s in 1; do\n  z\ndone", Some("one …\ntwo\n")),
        step("B", "cat > f <<'END'\nq\nEND", None),
    ];
    assert_eq!(read, expected);
}
