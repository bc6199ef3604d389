//! Our own agent that attests by a certificate.

use crate::openssl::Openssl;
use crate::within::{World, eventually};

#[tokio::test(start_paused = true)]
async fn our_own_agent_proves_an_rsa_key() {
    let openssl = Openssl::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    openssl.node_with(folder.path(), "rsa:3072", "basicConstraints=CA:false");
    std::fs::write(path("ca.pem"), openssl.authority_pem()).unwrap();
    let world = World::with(&["--x509pop-ca", &path("ca.pem")]).await;
    let proof = ["--node-cert", &path("node.pem"), "--node-key", &path("node.key")];
    let _agent = world.try_agent("n", &proof).await.unwrap();
    let leaves = world.leaves("attestation").await;
    assert!(leaves.iter().any(|leaf| leaf["attestor"] == "x509pop"), "{leaves:?}");
}

/// SPIRE's `AGENT_MUST_REATTEST`: such an agent proves itself again at half life, and its SVID ends with its evidence.
#[tokio::test(start_paused = true)]
async fn an_agent_attests_again_instead_of_renewing() {
    let openssl = Openssl::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    openssl.node(folder.path());
    std::fs::write(path("ca.pem"), openssl.authority_pem()).unwrap();
    let mut world = World::with(&["--x509pop-ca", &path("ca.pem"), "--agent-ttl", "20s"]).await;
    let proof = ["--node-cert", &path("node.pem"), "--node-key", &path("node.key")];
    let _agent = world.try_agent("n", &proof).await.unwrap();
    let attested = async |world: &World| {
        world.leaves("attestation").await.iter().filter(|leaf| leaf["attestor"] == "x509pop").count()
    };
    eventually("it proves itself again", async || (attested(&world).await >= 2).then_some(())).await;
    // And goes on as the agent that it was.
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "x509pop").unwrap();
    world.agent_id = ours["id"].as_str().unwrap().to_owned();
    world.agent_data = "n".into();
    world.register("/own/after", &["unix:uid:98".to_owned()]).await;
}
