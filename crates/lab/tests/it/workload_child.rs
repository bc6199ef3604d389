//! The workload as its sidecar's child, and roles as children of `dev`.

use std::process::{Command, Stdio};

use crate::world::{Role, TRUST_DOMAIN, eventually, program};

/// A sidecar whose workload needs no agent for what is tested here.
fn sidecar(folder: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new(program("sekisho"));
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "off", "--agent-socket"]);
    command.arg(folder.join("no-agent")).arg("--data").arg(folder.join("data"));
    let socket = folder.join("out.sock");
    command.arg("--outbound").arg(format!("unix:{}=127.0.0.1:1=spiffe://{TRUST_DOMAIN}/peer", socket.display()));
    command.args(["--", "sh", "-c", script]);
    command
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_sidecar_ends_as_its_workload_did() {
    let folder = tempfile::tempdir().unwrap();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let status = sidecar(folder.path(), script).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{script}");
    }
    // A workload that was asked to end has done no wrong.
    let mut asked = sidecar(folder.path(), "touch begun; exec sleep 100").current_dir(folder.path()).spawn().unwrap();
    eventually("the workload", || folder.path().join("begun").exists().then_some(()));
    Command::new("kill").arg(asked.id().to_string()).status().unwrap();
    assert_eq!(asked.wait().unwrap().code(), Some(0));
    let mut absent = Command::new(program("sekisho"));
    let some = sidecar(folder.path(), "");
    absent.args(some.get_args().take_while(|argument| *argument != "--")).arg("--");
    absent.arg(folder.path().join("no-such-program"));
    let output = absent.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(127) && said.contains("no-such-program"), "as a shell has it: {said}");
}

#[test]
fn a_workload_stops_with_its_sidecar() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    let mut killed = sidecar(folder.path(), &script).spawn().unwrap();
    let pid = eventually("the workload", || {
        std::fs::read_to_string(&pid).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    });
    assert!(is_running(&pid));
    killed.kill().unwrap();
    killed.wait().unwrap();
    eventually("the workload's end", || (!is_running(&pid)).then_some(()));
    // Descriptor 9 is open in the sidecar, inherited from its parent.
    let inner = sidecar(folder.path(), "test -e /proc/self/fd/9 && exit 9; exit 4");
    let mut outer = Command::new("sh");
    outer.args(["-c", "exec 9</dev/null; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    assert_eq!(outer.stdout(Stdio::null()).status().unwrap().code(), Some(4));
}

#[test]
fn roles_die_with_dev() {
    let folder = tempfile::Builder::new().prefix("sekdev").tempdir_in("/tmp").unwrap();
    let services = program("sekisho").parent().unwrap().to_owned();
    let mut command = Command::new(program("sekisho"));
    command.args(["dev", "-o", "json", "--folder"]).arg(folder.path()).arg("--services").arg(services);
    let dev = Role::start(&mut command);
    dev.wait_for(|line| line.contains("first_identity").then_some(()));
    let own = folder.path().display().to_string();
    let running = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let names = processes.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
        let ours = names.filter(|(pid, path)| {
            let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&own)
                && is_running(pid)
                && *pid != std::process::id().to_string()
        });
        ours.count()
    };
    assert!(running() > 3, "server, agent and a sidecar run");
    dev.kill();
    eventually("all roles end", || (running() == 0).then_some(()));
}
