//! JWT-SVIDs: those of what was revoked, and one user who asks for them without end.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sekisho_proto::workload::{
    JwtsvidRequest, ValidateJwtsvidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tonic::{Code, Status};

use crate::world::{World, copy_program, eventually, program};

async fn token(world: &World, audience: Vec<String>) -> Result<String, Status> {
    let mut workload = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let request = JwtsvidRequest { audience, spiffe_id: String::new() };
    Ok(workload.fetch_jwtsvid(request).await?.into_inner().svids.remove(0).svid)
}

async fn validated(world: &World, token: &str) -> Result<String, Status> {
    let mut workload = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let request = ValidateJwtsvidRequest { audience: "a".into(), svid: token.to_owned() };
    Ok(workload.validate_jwtsvid(request).await?.into_inner().spiffe_id)
}

/// A bearer token was good for its five minutes, whatever became of its entry.
#[tokio::test(flavor = "multi_thread")]
async fn law_l12_a_token_of_a_deleted_entry_is_refused() {
    let world = World::start();
    let entry = world.register("/own/test", &World::own_selectors());
    let old = token(&world, vec!["a".into()]).await.unwrap();
    assert_eq!(validated(&world, &old).await.unwrap(), "spiffe://example.org/own/test");
    world.text(&["entry", "delete", &entry]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let refused = loop {
        match validated(&world, &old).await {
            Err(refused) => break refused,
            Ok(_) => assert!(std::time::Instant::now() < end, "still accepted after 20 s"),
        }
    };
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let why = format!("the token is revoked: entry `{entry}` was deleted");
    assert!(refused.message().starts_with(&why), "{refused:?}");
    // The same identity by another entry is not concerned.
    world.register("/own/test", &World::own_selectors());
    let new = token(&world, vec!["a".into()]).await.unwrap();
    assert_eq!(validated(&world, &new).await.unwrap(), "spiffe://example.org/own/test");
    assert!(validated(&world, &old).await.is_err());
}

/// It used up what the log takes from the whole node, and the others heard that the server cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn law_l9_a_burst_of_one_user_leaves_others_their_tokens() {
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
    let (mut issued, mut refused) = (0, vec![]);
    for _ in 0..20 {
        let asks = (0..40).map(|_| token(&world, long.clone()));
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
