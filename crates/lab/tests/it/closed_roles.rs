//! Other processes, of the same user above all, at a role's keys and at its descriptors.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::world::{Role, TRUST_DOMAIN, World, copy_program, eventually, free_port, program, skipped};

/// The system's own: one that is first in PATH may be closed to other users.
const PYTHON: &str = "/usr/bin/python3";
/// A user that no other test uses.
const STRANGER: &str = "61235";

/// A world that another user reaches, with a copy of the program; none without root.
fn open_world() -> Option<(World, PathBuf)> {
    if !sekisho_host::traces_others() {
        skipped("not root, so there is no other user");
        return None;
    }
    let world = World::start();
    std::fs::set_permissions(world.folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let copy = world.path("sekisho");
    copy_program(&program("sekisho"), &copy);
    Some((world, copy))
}

fn as_stranger(program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"]).arg(program);
    command
}

/// How many P-256 keys in PKCS #8 stand in the memory that a process may write to.
fn keys_in_memory(pid: i32) -> usize {
    let head = hex::decode("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420").unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        // What is not readable, such as a mapped device, holds no key.
        if memory.read_exact(&mut bytes).is_ok() {
            found += bytes.windows(head.len()).filter(|window| *window == head).count();
        }
    }
    found
}

#[test]
fn law_l8_a_sidecar_is_closed_to_its_own_user() {
    let Some((world, copy)) = open_world() else { return };
    let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
    world.register("/own/sleeps", &[format!("unix:uid:{STRANGER}"), format!("unix:path:{}", sleep.display())]);
    let data = world.path("stranger");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(STRANGER.parse().unwrap()), None).unwrap();
    let start = |options: &[&str], environment: &[(&str, &str)]| {
        let mut command = as_stranger("env".as_ref());
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}"))).arg(&copy);
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--agent-socket"]);
        command.arg(world.agent_socket()).arg("--data").arg(&data).args(options);
        let outbound = format!("127.0.0.1:{}=127.0.0.1:1=spiffe://{TRUST_DOMAIN}/own/peer", free_port());
        command.args(["--outbound", &outbound, "--"]).arg(&sleep).arg("300");
        command
    };
    let sidecar = Role::start(&mut start(&[], &[]));
    assert_eq!(sidecar.ready_as(), "spiffe://example.org/own/sleeps");
    let reads = |pid: i32| {
        let memory = format!("/proc/{pid}/mem");
        let script = "import sys; f = open(sys.argv[1], 'rb'); print('open')";
        as_stranger(PYTHON.as_ref()).args(["-c", script, &memory]).output().unwrap().status.success()
    };
    assert!(!reads(sidecar.pid()), "another process of its user opened its memory");
    // Root can read. Of the key as the agent sent it no more stays than the buffers of the open stream hold.
    assert!(keys_in_memory(world.agent.as_ref().unwrap().pid()) > 0, "the agent holds what it hands out");
    assert!(keys_in_memory(sidecar.pid()) <= 2);
    drop(sidecar);

    let open = Role::start(&mut start(&["--danger-dumpable"], &[]));
    open.ready();
    assert!(reads(open.pid()) && open.stderr().contains("danger_dumpable"), "{}", open.stderr());
    drop(open);

    let preload = ("LD_PRELOAD", "/nonexistent/library.so");
    let refused = start(&[], &[preload]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("LD_PRELOAD is set"), "{said}");
    let meant = Role::start(&mut start(&["--danger-preload"], &[preload]));
    meant.ready();
    assert!(meant.stderr().contains("danger_preload"), "{}", meant.stderr());
}

/// A library that the loader would take from a folder of another's choice stays out of the sidecar, and reaches the
/// workload, which may need it.
#[test]
fn law_l8_a_sidecar_loads_no_foreign_library() {
    let Some((world, copy)) = open_world() else { return };
    let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
    world.register("/own/sleeps", &[format!("unix:uid:{STRANGER}"), format!("unix:path:{}", sleep.display())]);
    let (data, chosen) = (world.path("stranger"), world.path("chosen"));
    for folder in [&data, &chosen] {
        std::fs::create_dir(folder).unwrap();
        std::os::unix::fs::chown(folder, Some(STRANGER.parse().unwrap()), None).unwrap();
    }
    let own = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library =
        own.lines().find_map(|line| line.split_whitespace().last().filter(|path| path.ends_with("/libc.so.6")));
    std::fs::copy(library.unwrap(), chosen.join("libc.so.6")).unwrap();
    let mut command = as_stranger("env".as_ref());
    command.arg(format!("LD_LIBRARY_PATH={}", chosen.display())).arg(&copy);
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--agent-socket"]);
    command.arg(world.agent_socket()).arg("--data").arg(&data);
    let outbound = format!("127.0.0.1:{}=127.0.0.1:1=spiffe://{TRUST_DOMAIN}/own/peer", free_port());
    let sidecar = Role::start(command.args(["--outbound", &outbound, "--"]).arg(&sleep).arg("300"));
    assert_eq!(sidecar.ready_as(), "spiffe://example.org/own/sleeps");
    let loads = |pid: i32| {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        maps.contains(&chosen.display().to_string())
    };
    assert!(!loads(sidecar.pid()), "the sidecar runs a library of its starter's choice");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", sidecar.pid())).unwrap();
    let workload: i32 = children.trim().parse().unwrap();
    assert!(loads(workload), "the workload lost its environment");
}

/// Nine processes of one user, each with as many connections as it gets.
#[test]
fn law_l9_many_processes_of_one_user_leave_service() {
    let Some((mut world, copy)) = open_world() else { return };
    world.register("/own/root", &["unix:uid:0".to_owned()]);
    drop(world.agent.take());
    let agent = world.agent_command("a", &world.path("token"));
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=400:400").arg(agent.get_program()).args(agent.get_args());
    world.agent = Some(Role::start(&mut limited));
    world.agent.as_ref().unwrap().ready();
    let script = "import socket, sys, time\nheld = []\nfor n in range(300):\n s = socket.socket(socket.AF_UNIX)\n \
                  s.connect(sys.argv[1])\n s.send(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n')\n held.append(s)\n\
                  print('full', flush=True)\ntime.sleep(60)";
    let flood = |_| {
        let mut command = as_stranger(PYTHON.as_ref());
        Role::start(command.args(["-c", script]).arg(world.agent_socket()))
    };
    let flooding: Vec<Role> = (0..9).map(flood).collect();
    for one in &flooding {
        // One whose connections were all refused may have failed.
        let _broken = one;
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    // Another user is served, with an SVID that comes from the server over the agent's own connection.
    let served = eventually("another user is served", || {
        let (code, out, _) = world.sekisho(&["svid", "fetch"]);
        (code == 0).then_some(out)
    });
    assert!(served.contains("/own/root"), "{served}");
    let said = world.agent.as_ref().unwrap().stderr();
    let lines: Vec<&str> =
        said.lines().filter(|line| line.contains("too many connections are open of this user")).collect();
    assert!(!lines.is_empty() && lines.len() < 20, "{} lines: {said}", lines.len());
    assert!(!said.contains("accept failed"), "{said}");
    assert!(copy.exists());
    drop(flooding);
}
