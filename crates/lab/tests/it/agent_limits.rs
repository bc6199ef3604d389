//! Processes that want the agent for themselves: its connections, its threads, its folder.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::world::{Role, World, eventually, manifest_folder, skipped};

/// A user that no other test uses; the next ones as well.
const STRANGER: u32 = 61_240;

/// A world that other users reach, whose agent may open so many files; none without root.
fn open_world(files: u32) -> Option<World> {
    if !sekisho_host::traces_others() {
        skipped("not root, so there is no other user");
        return None;
    }
    let mut world = World::start();
    std::fs::set_permissions(world.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    world.register("/own/root", &["unix:uid:0".to_owned()]);
    drop(world.agent.take());
    let agent = world.agent_command("a", &world.path("token"));
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={files}:{files}")).arg(agent.get_program()).args(agent.get_args());
    world.agent = Some(Role::start(&mut limited));
    world.agent.as_ref().unwrap().ready();
    Some(world)
}

fn build(world: &World, name: &str) -> PathBuf {
    let (source, program) = (manifest_folder().join(format!("tests/it/attacks/{name}.c")), world.path(name));
    let built = Command::new("cc").args(["-O1", "-Wall", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn as_user(uid: u32, program: &std::path::Path) -> Command {
    let uid = uid.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]).arg(program);
    command
}

fn served(world: &World) {
    let out = eventually("another user is served", || {
        let mut fetch = Command::new("timeout");
        fetch.arg("10").arg(crate::world::program("sekisho")).args(["svid", "fetch", "--agent-socket"]);
        let out = fetch.arg(world.agent_socket()).output().unwrap();
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    });
    assert!(out.contains("/own/root"), "{out}");
}

#[test]
fn law_l9_many_users_together_do_not_shut_the_agent() {
    let Some(world) = open_world(400) else { return };
    let flood = build(&world, "connect_many");
    let start = |user| Role::start(as_user(STRANGER + user, &flood).arg("60").env("SOCKET", world.agent_socket()));
    let flooding: Vec<Role> = (0..8).map(start).collect();
    for one in &flooding {
        one.wait_for(|line| (line == "full").then_some(()));
    }
    served(&world);
    let said = world.agent.as_ref().unwrap().stderr();
    assert!(said.contains("its slot was given to another user"), "{said}");
    assert!(!said.contains("accept failed"), "{said}");
}

#[test]
fn law_l9_a_hanging_executable_delays_no_other_user() {
    let Some(world) = open_world(8192) else { return };
    let (mounted, hang) = (world.path("mounted"), world.path("hang"));
    std::fs::create_dir(&mounted).unwrap();
    let mut serve = Command::new(build(&world, "hanging_fs"));
    let fs = Role::start(serve.arg(build(&world, "connect_many")).arg(&mounted).arg(&hang));
    let impossible = fs.wait_for(|line| Some(line.strip_prefix("impossible").map(str::to_owned)));
    if let Some(reason) = impossible {
        skipped(&format!("no file system in user space here{reason}"));
        return;
    }
    let mut flood = as_user(STRANGER, &mounted.join("program"));
    let flood = Role::start(flood.arg("700").env("SOCKET", world.agent_socket()));
    flood.ready();
    std::fs::write(&hang, "").unwrap();
    flood.wait_for(|line| (line == "full").then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    served(&world);
    // What waits for the file system is let go with it.
    std::fs::remove_file(&hang).unwrap();
    drop(flood);
    let _unmounted = Command::new("umount").arg("-l").arg(&mounted).status();
    drop(fs);
}

#[test]
fn law_l16_a_danger_is_printed_whatever_the_log_shows() {
    let mut world = World::start();
    drop(world.agent.take());
    let mut agent = world.agent_command("a", &world.path("token"));
    agent.args(["--danger-inheritable-sockets", "--danger-dumpable"]);
    let arguments: Vec<_> = agent.get_args().map(std::ffi::OsStr::to_owned).collect();
    let log = arguments.iter().position(|argument| argument == "--log").unwrap();
    let mut quiet = Command::new(agent.get_program());
    quiet.args(&arguments[..log]).args(["--log", "error"]).args(&arguments[log + 2..]);
    let agent = Role::start(&mut quiet);
    agent.ready();
    for name in ["danger_inheritable_sockets", "danger_dumpable"] {
        eventually(name, || agent.stderr().contains(name).then_some(()));
        let (code, out, err) = world.sekisho(&["doctor"]);
        assert!(code != 0 && out.contains(name), "{out}{err}");
    }
}
