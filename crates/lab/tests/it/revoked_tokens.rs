//! JWT-SVIDs: one user who asks for them without end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use sekisho_proto::workload::{JwtsvidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tonic::{Code, Status};

use crate::world::{World, copy_program, eventually, program};

pub async fn token(agent: &Path, audience: Vec<String>) -> Result<String, Status> {
    let mut workload = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(agent));
    let request = JwtsvidRequest { audience, spiffe_id: String::new() };
    Ok(workload.fetch_jwtsvid(request).await?.into_inner().svids.remove(0).svid)
}

/// It used up what the log takes from the whole node, and the others heard that the server cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn law_l9_a_users_burst_leaves_others_tokens() {
    let world = World::start();
    if !Command::new("setpriv").args(["--reuid", "65534", "true"]).status().is_ok_and(|status| status.success()) {
        crate::world::skipped("not root, so there is no other user");
        return;
    }
    world.register("/own/test", &World::own_selectors());
    world.register("/own/nobody", &["unix:uid:65534".to_owned()]);
    copy_program(&program("sekisho"), &world.path("sekisho"));
    for (path, mode) in [("", 0o711), ("sekisho", 0o755)] {
        std::fs::set_permissions(world.path(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let long: Vec<String> = (0..16).map(|number| format!("{number:0500}")).collect();
    let (mut issued, mut refused, socket) = (0, vec![], world.agent_socket());
    for _ in 0..20 {
        let asks = (0..40).map(|_| token(&socket, long.clone()));
        for answer in futures_util::future::join_all(asks).await {
            match answer {
                Ok(_) => issued += 1,
                Err(status) => refused.push(status),
            }
        }
    }
    assert!(issued > 50 && refused.len() > 50, "{issued} issued, {} refused", refused.len());
    for status in &refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains("asked for too many JWT-SVIDs"), "{status:?}");
    }
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(world.path("sekisho"));
    let output =
        other.args(["svid", "jwt", "--audience", "a", "--agent-socket"]).arg(world.agent_socket()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("/own/nobody"), "{said}");
    eventually("the refusals are on record", || {
        let listed = world.json(&["decisions", "--effect", "refusal"]);
        listed.to_string().contains("asked for too many JWT-SVIDs").then_some(())
    });
}
