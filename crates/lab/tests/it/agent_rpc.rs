//! Who may call what of an agent: its own sidecars, its operators, the workloads of this machine, and no
//! process for another.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use sekisho_proto::node::{LendRequest, ReportPolicyRequest, WatchPolicyRequest, sidecar_client::SidecarClient};
use sekisho_proto::server::RecordRequest;
use tonic::Code;

use crate::peers::clock;
use crate::world::{World, copy_program, eventually, program};

/// A world in which this test is a sidecar.
fn with_sidecar() -> World {
    let own = crate::world::digest(&std::env::current_exe().unwrap());
    World::with_environment(&[], vec![], vec![("SEKISHO_SIDECAR_SHA256".into(), own)])
}

fn agent(world: &World) -> sekisho_sdk::AgentChannel {
    sekisho_sdk::agent_channel(&world.agent_socket())
}

fn process(pid: u32) -> LendRequest {
    let process = sekisho_host::Process::open(pid.cast_signed()).unwrap();
    LendRequest { workload_pid: process.pid(), workload_start_time: process.start_time(), spiffe_id: String::new() }
}

/// Waits until a refusal that says this stands with the server.
fn recorded(world: &World, text: &str) {
    eventually(&format!("a record of {text:?}"), || {
        let listed = world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]);
        listed.to_string().contains(text).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l6_a_sidecar_speaks_only_for_what_was_delegated() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    // This test does not act as a sidecar here.
    let mut none = SidecarClient::new(agent(&world));
    let report = |id: &str| ReportPolicyRequest { spiffe_id: id.into(), revision: 1 };
    let record = |about: &str, key: &str| {
        let at = clock().millis();
        let id = format!("dec_{at:012x}{:020x}", key.len());
        let input = format!(r#""input":{{"destination":"{about}"}}"#);
        let text = format!(r#"{{"id":"{id}","at_ms":{at},"kind":"decision","effect":"allow",{input}}}"#);
        RecordRequest { records: vec![text.into()], lost: 0, batch_key: format!("{key}:0") }
    };
    for refused in [
        none.lend(process(std::process::id())).await.map(drop),
        none.watch_policy(WatchPolicyRequest {}).await.map(drop),
        none.report_policy(report("spiffe://example.org/own/test")).await.map(drop),
        none.record(record("spiffe://example.org/own/test", "s")).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
    for call in ["Lend", "WatchPolicy", "ReportPolicy", "Record"] {
        recorded(&world, &format!("sekisho.node.v1.Sidecar/{call}"));
    }
    drop(world);

    let world = with_sidecar();
    world.register("/own/test", &World::own_selectors());
    let mut sidecar = SidecarClient::new(agent(&world));
    let (own, other) = ("spiffe://example.org/own/test", "spiffe://example.org/own/other");
    // Before anything is delegated.
    assert_eq!(sidecar.report_policy(report(own)).await.unwrap_err().code(), Code::FailedPrecondition);
    let mut lent = sidecar.lend(process(std::process::id())).await.unwrap().into_inner();
    assert_eq!(lent.message().await.unwrap().unwrap().spiffe_id, own);
    assert_eq!(sidecar.report_policy(report(other)).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(sidecar.record(record(other, "a")).await.unwrap_err().code(), Code::InvalidArgument);
    sidecar.report_policy(report(own)).await.unwrap();
    sidecar.record(record(own, "ab")).await.unwrap();
    recorded(&world, "about its own workload only");
    assert!(!world.json(&["decisions"]).to_string().contains("own/other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l11_a_delegation_ends_with_its_process() {
    let world = with_sidecar();
    let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
    world.register("/own/sleeps", &[format!("unix:path:{}", sleep.display())]);
    let mut workload = Command::new(&sleep).arg("100").spawn().unwrap();
    let wanted = process(workload.id());
    let mut lent = SidecarClient::new(agent(&world)).lend(wanted.clone()).await.unwrap().into_inner();
    let first = lent.message().await.unwrap().unwrap();
    assert_eq!(first.spiffe_id, "spiffe://example.org/own/sleeps");
    workload.kill().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), lent.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied, "while it is not yet reaped");
    workload.wait().unwrap();
    let again = SidecarClient::new(agent(&world)).lend(wanted).await;
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
    // The exit of a process is not an error of that process.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let listed = world.json(&["decisions", "--effect", "refusal"]);
    assert_eq!(listed.as_array().unwrap().len(), 0, "{listed}");
}

/// As another user of this machine, who has root's tools but not its rights.
#[test]
fn another_user_has_no_administrative_access() {
    let world = World::start();
    let as_nobody = |arguments: &[&str]| {
        let copy = world.path("sekisho");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy).args(arguments);
        command
            .env("SEKISHO_SERVER_SOCKET", world.path("s/api.sock"))
            .env("SEKISHO_AGENT_SOCKET", world.agent_socket());
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    };
    copy_program(&program("sekisho"), &world.path("sekisho"));
    for (path, mode) in [("", 0o711), ("s", 0o711), ("sekisho", 0o755)] {
        std::fs::set_permissions(world.path(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    // Where even the socket's own mode would let it in.
    std::fs::set_permissions(world.path("s/api.sock"), PermissionsExt::from_mode(0o777)).unwrap();
    if !Command::new("setpriv").args(["--reuid", "65534", "true"]).status().is_ok_and(|status| status.success()) {
        crate::world::skipped("not root, so there is no other user");
        return;
    }
    for arguments in [&["agents", "list"][..], &["token", "create"], &["entry", "list"]] {
        let (code, said) = as_nobody(arguments);
        assert!(code != Some(0) && !said.contains("spiffe://example.org/spire/agent"), "{arguments:?}: {said}");
    }
    let own = std::process::id().to_string();
    for arguments in [&["why", "identity", "--pid", &own][..], &["why", "identity", "--selectors", "unix:uid:0"]] {
        let (code, said) = as_nobody(arguments);
        assert!(code != Some(0) && said.contains("only root and the agent's own user"), "{arguments:?}: {said}");
    }
    recorded(&world, "only root and the agent's own user may inspect it");
    world.register("/own/nobody", &["unix:uid:65534".to_owned()]);
    let (code, said) = as_nobody(&["svid", "fetch"]);
    assert!(code == Some(0) && said.contains("/own/nobody"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l11_exec_ends_an_identity_in_use() {
    let world = with_sidecar();
    let sh = std::fs::canonicalize("/bin/sh").unwrap();
    world.register("/own/shell", &[format!("unix:path:{}", sh.display())]);
    let mut command = Command::new(&sh);
    command.args(["-c", "read line; exec sleep 100"]).stdin(std::process::Stdio::piped());
    let mut workload = command.spawn().unwrap();
    let mut lent = SidecarClient::new(agent(&world)).lend(process(workload.id())).await.unwrap().into_inner();
    let first = lent.message().await.unwrap().unwrap();
    assert_eq!(first.spiffe_id, "spiffe://example.org/own/shell");
    assert_eq!(first.executable.len(), 16);
    std::io::Write::write_all(workload.stdin.as_mut().unwrap(), b"\n").unwrap();
    // Half of the SVID's life is minutes away.
    let ended = tokio::time::timeout(Duration::from_secs(10), lent.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied);
    workload.kill().unwrap();
    workload.wait().unwrap();
}
