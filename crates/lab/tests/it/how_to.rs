//! `docs/how-to`: each page is run from its own text, against the real programs that it is about.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::pages::{documents, fits, steps};
use crate::world::{World, program, skipped};

/// A test for each page, and what has to be there for it; `root` stands for the user, `examples` for those of the SDK.
macro_rules! pages {
    ($($test:ident: $page:literal needs $needs:expr;)+) => {
        $(#[test]
        fn $test() {
            follow($page, &$needs);
        })+
        const PAGES: &[&str] = &[$($page),+];
    };
}

pages! {
    any_program_has_its_identity_in_files: "files.md" needs ["openssl"];
    nginx_serves_the_new_serial_after_a_rotation: "nginx.md" needs ["nginx", "curl", "openssl"];
    postgresql_serves_the_new_serial_and_admits_by_svid: "postgresql.md" needs ["root", "postgres", "psql", "openssl"];
    haproxy_serves_the_new_serial_after_a_rotation: "haproxy.md" needs ["haproxy", "curl", "openssl"];
    redis_serves_the_new_serial_after_a_rotation: "redis.md" needs ["redis-server", "redis-cli", "openssl"];
    mosquitto_serves_the_new_serial_after_a_rotation: "mosquitto.md"
        needs ["root", "mosquitto", "mosquitto_sub", "openssl"];
    envoy_serves_the_new_serial_and_admits_by_spiffe_id: "envoy.md" needs ["envoy", "curl", "openssl"];
    a_unit_keeps_the_files_of_another_one: "systemd.md" needs ["root", "systemd-analyze"];
    prometheus_reads_the_metrics_and_takes_the_alerts: "prometheus.md" needs ["prometheus", "promtool", "curl"];
    a_program_without_tls_is_reached_by_policy: "sidecar.md" needs ["/usr/bin/python3", "curl"];
    a_policy_is_laid_out_explained_and_measured: "policy.md" needs [];
    services_in_rust_rotate_without_a_failed_call: "rust.md" needs ["examples"];
}

/// Pages that need more than this, each with a test of its own file.
const ELSEWHERE: [&str; 3] = [crate::containers::COMPOSE, crate::containers::HELM, crate::ci_pages::CI];

#[test]
fn each_page_is_listed_and_has_a_test() {
    let list = std::fs::read_to_string(documents().join("how-to.md")).unwrap();
    let found = std::fs::read_dir(documents().join("how-to")).unwrap().flatten();
    let found: BTreeSet<String> = found.map(|item| item.file_name().into_string().unwrap()).collect();
    let pages = || PAGES.iter().chain(&ELSEWHERE);
    assert_eq!(found, pages().map(|&page| page.to_owned()).collect());
    for page in pages() {
        assert!(list.contains(&format!("](how-to/{page})")), "{page} is not in the list");
    }
}

/// The folders that programs are looked for in: Debian has some where an ordinary user's shell does not look.
pub(crate) fn path() -> String {
    let mut folders: Vec<PathBuf> = vec![program("sekisho").parent().unwrap().to_owned()];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(
        ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from).into_iter().chain(versions.map(|v| v.path().join("bin"))),
    );
    // Where the PyPI package has the program itself; the one in `bin` is a script.
    let pythons = std::fs::read_dir(cache("python/lib")).into_iter().flatten().flatten();
    folders.extend(pythons.map(|python| python.path().join("site-packages/envoy/_bin")));
    std::env::join_paths(folders).unwrap().into_string().unwrap()
}

/// What deploy/setup.sh keeps for the tests.
pub(crate) fn cache(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap_or_default().join("sekisho").join(name)
}

/// Why a page cannot be run here.
pub(crate) fn missing(needs: &[&str], path: &str) -> Option<String> {
    let there = |name: &str| match name {
        "root" => sekisho_host::own_uid() == 0,
        "examples" => program("sekisho").with_file_name("examples").join("with_rustls").is_file(),
        // In the first folder that has one: a wrapper in another place is what a shell would find, too.
        name => std::env::split_paths(path).any(|folder| folder.join(name).is_file()) || Path::new(name).is_file(),
    };
    needs.iter().find(|name| !there(name)).map(|name| format!("no {name} here (deploy/setup.sh test)"))
}

fn follow(page: &str, needs: &[&str]) {
    let path = path();
    if let Some(why) = missing(needs, &path) {
        return skipped(&why);
    }
    // The addresses that the page on metrics names; other pages need none.
    let metrics = |address: &str| vec![("SEKISHO_METRICS".to_owned(), address.to_owned())];
    let world = match page {
        "prometheus.md" => World::with_environment(&[], metrics("127.0.0.1:31462"), metrics("127.0.0.1:31463")),
        _ => World::start(),
    };
    run_page(page, &mut Shell::start(&world, &path, &[]));
}

/// Types the commands of a page, and compares what they print with what it shows.
pub(crate) fn run_page(page: &str, shell: &mut Shell) {
    let steps = steps(&std::fs::read_to_string(documents().join("how-to").join(page)).unwrap());
    assert!(steps.len() > 3, "{steps:?}");
    for step in &steps {
        let printed = shell.run(&step.command);
        if let Some(shown) = &step.shows {
            let (command, logs) = (&step.command, shell.logs());
            assert!(fits(shown, &printed), "{command}\nshown:\n{shown}\nprinted:\n{printed}\n{logs}");
        }
    }
}

/// A shell in an empty folder that ends with all that it started.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    pub folder: PathBuf,
}

impl Shell {
    pub fn start(world: &World, path: &str, more: &[(&str, &str)]) -> Self {
        Self::start_in(&["bash"], world, path, more)
    }

    /// With the command that becomes the shell.
    pub fn start_in(bash: &[&str], world: &World, path: &str, more: &[(&str, &str)]) -> Self {
        // Programs of other users pass through it.
        std::fs::set_permissions(world.folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let folder = world.path("work");
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new(bash[0]);
        command
            .args(&bash[1..])
            .current_dir(&folder)
            .env("PATH", path)
            .env("AGENT", &world.agent_id)
            .env("POLICY", world.path("policy"));
        let deployed = std::fs::canonicalize(documents().join("../deploy")).unwrap();
        command.env("RULES", deployed.join("prometheus")).env("UNITS", deployed.join("systemd"));
        command
            .env("SEKISHO_SERVER_SOCKET", world.path("s/api.sock"))
            .env("SEKISHO_AGENT_SOCKET", world.agent_socket());
        command.env("EXAMPLES", program("sekisho").with_file_name("examples"));
        command.envs(more.iter().copied());
        command.env_remove("SPIFFE_ENDPOINT_SOCKET").process_group(0);
        if !sekisho_host::traces_others() {
            command.env("SEKISHO_DANGER_DUMPABLE", "true");
        }
        let said = std::fs::File::create(world.path("said")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _gone = send.send(line);
            }
        });
        Self { child, input, lines, folder }
    }

    /// Types one command and waits until it has exited; of a daemon of ours, until it reports that it
    /// serves. Returns what was printed.
    pub fn run(&mut self, command: &str) -> String {
        let step = self.folder.with_extension("step");
        std::fs::write(&step, format!("{command}\n")).unwrap();
        writeln!(self.input, ". {} < /dev/null; printf '\\n::ended %s\\n' $?", step.display()).unwrap();
        let daemon = command.ends_with('&') && command.trim_start().starts_with("sekisho ");
        let (mut printed, mut ended, mut ready) = (String::new(), false, !daemon);
        let end = Instant::now() + Duration::from_secs(120);
        while !(ended && ready) {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()));
            let line =
                line.unwrap_or_else(|_| panic!("`{command}` takes more than two minutes: {printed}{}", self.logs()));
            match line.strip_prefix("::ended ") {
                Some(code) => {
                    assert_eq!(code, "0", "{command}: {printed}{}", self.logs());
                    ended = true;
                }
                None => printed.push_str(&format!("{line}\n")),
            }
            ready |= line.starts_with("ready ");
        }
        printed
    }

    /// The last lines of what the programs of the page printed and logged.
    fn logs(&self) -> String {
        let logs = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|item| item.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let mut out = String::new();
        for path in logs.chain([self.folder.with_file_name("said")]) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            out += &format!("\n{}:\n{}\n", path.display(), lines[lines.len().saturating_sub(12)..].join("\n"));
        }
        out
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // All of its group: daemons are asked first, so that each ends what it started itself.
        let group = format!("-{}", self.child.id());
        for (signal, wait) in [("-TERM", 40), ("-KILL", 40)] {
            let _gone = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
            for _ in 0..wait {
                let _reaped = self.child.try_wait();
                let left = Command::new("kill").args(["-0", "--", &group]).stderr(Stdio::null()).status();
                if !left.is_ok_and(|left| left.success()) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}
