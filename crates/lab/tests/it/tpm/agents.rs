//! A real agent that attests by its TPM.

use super::{ISSUER, ROOT, Software};
use crate::within::{World, eventually};

#[tokio::test(start_paused = true)]
async fn an_agent_attests_by_its_tpm() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let mut world = World::with(&["--danger-software-tpm-ca", &software.authority(ROOT), "--agent-ttl", "20s"]).await;
    let socket = software.socket().display().to_string();
    let proof = ["--tpm", &socket, "--tpm-chain", &software.authority(ISSUER)];
    let _agent = world.try_agent("n", &proof).await.unwrap();
    // It proves itself again in place of renewing, and stays the same node.
    let attested = async |world: &World| {
        world.leaves("attestation").await.iter().filter(|leaf| leaf["attestor"] == "danger_software_tpm").count()
    };
    eventually("it proves itself again", async || (attested(&world).await >= 2).then_some(())).await;
    let agents = world.json(&["agents", "list"]).await;
    let ours: Vec<_> =
        agents.as_array().unwrap().iter().filter(|a| a["attestation_type"] == "danger_software_tpm").collect();
    assert_eq!(ours.len(), 1, "one TPM is one node: {agents}");
    world.agent_id = ours[0]["id"].as_str().unwrap().to_owned();
    world.agent_data = "n".into();
    world.register("/own/after", &["unix:uid:98".to_owned()]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_the_danger_refuses_software() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let world = World::with(&["--tpm-ca", &software.authority(ROOT)]).await;
    let socket = software.socket().display().to_string();
    let proof = ["--tpm", &socket, "--tpm-chain", &software.authority(ISSUER)];
    let refused = world.try_agent("n", &proof).await.err().unwrap().to_string();
    assert!(refused.contains("--danger-software-tpm-ca"), "{refused}");
}
