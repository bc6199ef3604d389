//! Identities by the unit of systemd that a process belongs to, in control groups that these tests make.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

use sekisho_identity::leaf_facts;
use sekisho_proto::node::{LendRequest, sidecar_client::SidecarClient};
use sekisho_types::ClaimValue;
use tonic::Code;

use crate::world::{World, copy_program, eventually, program, skipped};

const STRANGER: u32 = 61_500;

/// A slice at the root of the hierarchy; removed at the end with all that it holds.
struct Slice(PathBuf);

impl Slice {
    fn new(name: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = sekisho_host::proc_text::unified_mount(&mounts);
        let folder = root.map(|root| PathBuf::from(root).join(format!("sekisholab{name}{}.slice", std::process::id())));
        match folder.filter(|folder| sekisho_host::own_uid() == 0 && std::fs::create_dir(folder).is_ok()) {
            Some(folder) => Some(Self(folder)),
            None => {
                skipped("this test may make no control groups (cgroup v2)");
                None
            }
        }
    }

    fn unit(&self, name: &str) -> PathBuf {
        let folder = self.0.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // Innermost first; the last process of a group may still be on its way out.
        let removed = || Command::new("find").arg(&self.0).args(["-depth", "-type", "d", "-delete"]).output();
        for _ in 0..100 {
            if removed().is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn sleeper(unit: &std::path::Path) -> Child {
    let script = format!("echo $$ > {}/cgroup.procs && exec sleep 100", unit.display());
    let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let runs = || std::fs::read_to_string(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name == "sleep\n");
    eventually("the workload runs in its unit", || runs().then_some(()));
    child
}

fn of(child: &Child) -> LendRequest {
    let process = sekisho_host::Process::open(child.id().cast_signed()).unwrap();
    LendRequest { workload_pid: process.pid(), workload_start_time: process.start_time(), spiffe_id: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l11_leaving_a_unit_ends_the_svid() {
    let Some(slice) = Slice::new("a") else { return };
    let own = crate::world::digest(&std::env::current_exe().unwrap());
    let world = World::with_environment(&[], vec![], vec![("SEKISHO_SIDECAR_SHA256".into(), own)]);
    world.register("/shop/till", &["unix:uid:0".to_owned(), "systemd:unit:till.service".to_owned()]);
    let (till, other) = (slice.unit("till.service"), slice.unit("other.service"));
    let mut child = sleeper(&till);
    let mut sidecar = SidecarClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let mut lent = sidecar.lend(of(&child)).await.unwrap().into_inner();
    let message = lent.message().await.unwrap().unwrap();
    assert_eq!(message.spiffe_id, "spiffe://example.org/shop/till");
    let claims = leaf_facts(&message.cert_chain[0]).unwrap().claims;
    assert_eq!(claims.get("systemd.unit"), Some(&ClaimValue::Text("till.service".into())));
    assert_eq!(claims.get("attestor"), Some(&ClaimValue::Text("unix/1 systemd/1".into())));

    std::fs::write(other.join("cgroup.procs"), child.id().to_string()).unwrap();
    // Half of the SVID's life is minutes away.
    let ended = tokio::time::timeout(Duration::from_secs(20), lent.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied);
    let again = async {
        let mut lent = sidecar.lend(of(&child)).await?.into_inner();
        lent.message().await
    };
    assert_eq!(again.await.unwrap_err().code(), Code::PermissionDenied);
    let why = world.json(&["why", "identity", "--pid", &child.id().to_string()]);
    assert_eq!(why["differences"][0]["wants"], "systemd:unit:till.service", "{why}");
    assert_eq!(why["differences"][0]["found"][0], "systemd:unit:other.service", "{why}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn law_l11_user_cgroups_forge_no_system_unit() {
    let Some(slice) = Slice::new("b") else { return };
    let world = World::start();
    let (copy, uid) = (world.path("sekisho"), STRANGER.to_string());
    copy_program(&program("sekisho"), &copy);
    for (path, mode) in [("", 0o711), ("sekisho", 0o755)] {
        std::fs::set_permissions(world.path(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    world.register("/shop/till", &[format!("unix:uid:{STRANGER}"), "systemd:unit:till.service".to_owned()]);
    let (till, delegated) = (slice.unit("till.service"), slice.unit("user@1.service"));
    for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        chown(delegated.join(file), Some(STRANGER), Some(STRANGER)).unwrap();
    }
    // As the stranger, from its own unit: it tries every group that has the name, and asks from wherever it gets.
    let fetch = |script: &str| -> Output {
        let ask =
            format!("{script}; exec {} svid fetch --agent-socket {}", copy.display(), world.agent_socket().display());
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", delegated.display());
        let mut command = Command::new("sh");
        command.args(["-c", &enter, "sh", "setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        command.args(["sh", "-c", &ask]).output().unwrap()
    };
    let said = |output: &Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let below = format!("{}/system.slice/till.service", delegated.display());
    let beside = format!("{}/till.service", delegated.display());
    for script in [
        format!("mkdir -p {below} && echo $$ > {below}/cgroup.procs && cat /proc/self/cgroup"),
        format!("mkdir -p {beside} && echo $$ > {beside}/cgroup.procs && cat /proc/self/cgroup"),
        format!("echo $$ > {}/cgroup.procs", till.display()),
        format!("mkdir {}/x && echo $$ > {}/x/cgroup.procs", till.display(), till.display()),
        format!("unshare --user --cgroup --map-root-user sh -c 'mkdir -p {below}/y; echo $$ > {below}/y/cgroup.procs'"),
    ] {
        let refused = fetch(&script);
        let said = said(&refused);
        assert!(!refused.status.success() && said.contains("no identity issued"), "{script}: {said}");
    }
    // Where root starts it, it is the unit's.
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", till.display());
    let mut command = Command::new("sh");
    command.args(["-c", &enter, "sh", "setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    let served =
        command.arg(&copy).args(["svid", "fetch", "--agent-socket"]).arg(world.agent_socket()).output().unwrap();
    let said = said(&served);
    assert!(served.status.success() && said.contains("/shop/till") && said.contains("till.service"), "{said}");
}
