//! `sekisho exec --network-policy`: a program under rules of the network in the kernel.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::world::{Role, World, digest, eventually, program, skipped};

const POLICY: &str = "package workload.authz\n\ndefault allow := false\n\nallow if {\n\tinput.method == \"GET\"\n\t\
                      input.subject.spiffe_id == \"spiffe://example.org/kernel/job\"\n\t\
                      input.destination == \"spiffe://example.org/open\"\n}\n";

/// A world in which `sekisho exec` is the job, with a policy and two services that it might call.
struct Job {
    world: World,
    open: TcpListener,
    closed: TcpListener,
}

impl Job {
    fn new(policy: &str) -> Self {
        let world = World::start();
        let own = vec![
            format!("unix:sha256:{}", digest(&program("sekisho"))),
            format!("unix:uid:{}", sekisho_host::own_uid()),
        ];
        world.register_with("/kernel/job", &own, &[]);
        let [open, closed] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        std::fs::create_dir(world.path("rules")).unwrap();
        std::fs::write(world.path("rules/authz.rego"), policy).unwrap();
        let endpoint = |name: &str, listener: &TcpListener| {
            let port = listener.local_addr().unwrap().port();
            format!("- {{spiffe_id: 'spiffe://example.org/{name}', address: 127.0.0.1, protocol: tcp, port: {port}}}\n")
        };
        let known = format!("endpoints:\n{}{}", endpoint("open", &open), endpoint("closed", &closed));
        std::fs::write(world.path("endpoints.yaml"), known).unwrap();
        Self { world, open, closed }
    }

    fn ports(&self) -> [u16; 2] {
        [&self.open, &self.closed].map(|listener| listener.local_addr().unwrap().port())
    }

    fn exec(&self, script: &str) -> Command {
        let mut command = Command::new(program("sekisho"));
        command.args(["exec", "--network-policy", "rules", "--endpoints", "endpoints.yaml", "--"]);
        command.args(["bash", "-c", script]).env("SEKISHO_AGENT_SOCKET", self.world.agent_socket());
        command.current_dir(self.world.folder.path());
        command
    }
}

/// Whether rules cannot be put into the kernel here; then the test is skipped, with the reason.
fn is_not_possible(why: &str) -> bool {
    let not = ["cannot put rules into the kernel", "cgroup ", "no cgroup2"].iter().any(|text| why.contains(text));
    let first = why.lines().find(|line| !line.is_empty()).unwrap_or_default();
    if not && !why.contains("rules of the network in the kernel: ") {
        skipped(&format!("network rules of a program: {first}"));
        return true;
    }
    false
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

/// Whether a process runs. One that was killed stays listed until its parent has asked for it.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn law_l15_exec_starts_programs_under_kernel_rules() {
    let job = Job::new(POLICY);
    let [open, closed] = job.ports();
    let script = format!(
        "(exec 3<>/dev/tcp/127.0.0.1/{open}) && echo open; \
         (exec 3<>/dev/tcp/127.0.0.1/{closed}) 2>err || echo refused; \
         grep -h Cap /proc/self/status; sed -n 's/^0::/cgroup /p' /proc/self/cgroup; sleep 1; \
         {} network list -o json > list.json; sleep 600 & echo left $!",
        program("sekisho").display()
    );
    let output = job.exec(&script).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if is_not_possible(&err) {
        return;
    }
    assert!(output.status.success() && out.starts_with("open\nrefused\n"), "{out}{err}");
    let refused = format!(
        "the kernel refused tcp to 127.0.0.1:{closed} (connect4): rule `out spiffe://example.org/closed tcp \
         127.0.0.1:{closed}`"
    );
    assert_eq!(err.matches(&refused).count(), 1, "{err}");
    assert!(err.contains("not enforced: Unix sockets"), "{err}");
    // Packet sockets and interfaces of its own would lead around the rules.
    for line in out.lines().filter(|line| line.starts_with("Cap")) {
        let set = u64::from_str_radix(line.rsplit(char::is_whitespace).next().unwrap(), 16).unwrap();
        assert_eq!(set & (1 << 12 | 1 << 13 | 1 << 39), 0, "{line}");
    }
    let listed: Vec<Value> = serde_json::from_slice(&std::fs::read(job.world.path("list.json")).unwrap()).unwrap();
    let cgroup = out.lines().find_map(|line| line.strip_prefix("cgroup ")).unwrap();
    let ours = |workload: &&Value| workload["cgroup"].as_str().is_some_and(|path| path.ends_with(cgroup));
    let own = listed.iter().find(ours).unwrap_or_else(|| panic!("{cgroup}: {listed:?}"));
    let rule = own["rules"].as_array().unwrap().iter().find(|rule| rule["denied"] == 1).unwrap();
    assert_eq!((&rule["state"], &rule["allows"]), (&"in_force".into(), &false.into()), "{rule}");
    assert_eq!(rule["digest"].as_str().map(str::len), Some(64));
    assert!(rule["points"].as_array().unwrap().iter().all(|point| point["tag"].as_str().unwrap().len() == 16));
    // What it left behind stops with it: nothing of it runs on without the rules.
    let left = out.lines().find_map(|line| line.strip_prefix("left ")).unwrap();
    assert!(!runs(left) && !exists(own["cgroup"].as_str().unwrap()), "{own}");
    assert!(!exists(&format!("/run/sekisho/network/{}.json", own["number"])));
}

#[test]
fn law_l3_a_killed_exec_leaves_no_program() {
    let job = Job::new(POLICY);
    let tried = job.exec("true").output().unwrap();
    let why = String::from_utf8_lossy(&tried.stderr);
    if is_not_possible(&why) {
        return;
    }
    assert!(tried.status.success(), "{why}");
    let script = "sed -n 's/^0::/ready /p' /proc/self/cgroup; sleep 600 & echo ready $!; wait";
    let role = Role::start(&mut job.exec(script));
    let (cgroup, left) = (mounted(&role.ready()), role.ready());
    assert!(cgroup.is_dir() && runs(&left));
    role.kill();
    eventually("the end of all that it started", || (!runs(&left)).then_some(()));
    eventually("the end of its cgroup", || (!cgroup.exists()).then_some(()));
}

/// Where a cgroup is mounted, by its path as a process sees it.
fn mounted(path: &str) -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let at = fields.next()?;
        (fields.next()? == "cgroup2").then(|| at.to_owned())
    });
    Path::new(&mounted.unwrap()).join(path.trim_start_matches('/'))
}

#[test]
fn law_l15_an_unlowered_policy_starts_nothing() {
    let job =
        Job::new(&POLICY.replace("input.method ==", "to_number(input.subject.spiffe_id) == 1\n\tinput.method =="));
    let refused = job.exec("touch ran").output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    if is_not_possible(&why) {
        return;
    }
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("out spiffe://example.org/open tcp 127.0.0.1:") && why.contains("to_number("), "{why}");
    assert!(!job.world.path("ran").exists());
    std::fs::write(job.world.path("endpoints.yaml"), "endpoints:\n- {spiffe_id: 'spiffe://td/a', adress: ::1}\n")
        .unwrap();
    let refused = job.exec("touch ran").output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("endpoints.yaml") && why.contains("adress"), "{why}");
}

#[test]
fn law_l15_without_the_rights_nothing_starts() {
    let job = Job::new(POLICY);
    let mut without = Command::new("setpriv");
    let exec = job.exec("touch ran");
    without.args(["--bounding-set", "-all", "--"]).arg(exec.get_program()).args(exec.get_args());
    without.current_dir(job.world.folder.path()).env("SEKISHO_AGENT_SOCKET", job.world.agent_socket());
    let Ok(output) = without.output() else { return skipped("no setpriv here") };
    let why = String::from_utf8_lossy(&output.stderr);
    if why.contains("setpriv:") {
        return skipped(&format!("network rules without rights: {why}"));
    }
    assert_eq!(output.status.code(), Some(5), "{why}");
    assert!(why.contains("CAP_BPF: this process does not have it; without it no program can be loaded"), "{why}");
    assert!(!job.world.path("ran").exists());
}
