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

/// A copy of the agent's folder, as a thief of the disk has it.
fn steal(world: &World) {
    let copied = std::process::Command::new("cp").arg("-r").args([world.path("n"), world.path("stolen")]).status();
    assert!(copied.unwrap().success());
    let _socket = std::fs::remove_file(world.path("stolen/agent.sock"));
}

async fn attestations(world: &World) -> usize {
    world.leaves("attestation").await.iter().filter(|leaf| leaf["attestor"] == "danger_software_tpm").count()
}

#[tokio::test(start_paused = true)]
async fn a_copied_disk_gives_nothing_elsewhere() {
    let (Some(own), Some(thief)) = (Software::new(), Software::new()) else { return };
    drop((own.connect(), thief.connect()));
    // The thief's TPM is by a manufacturer that the server trusts too.
    let both = own.folder.path().join("both.pem");
    let pems = [&own, &thief].map(|software| std::fs::read_to_string(software.authority(ROOT)).unwrap());
    std::fs::write(&both, pems.concat()).unwrap();
    let mut world = World::with(&["--danger-software-tpm-ca", both.to_str().unwrap()]).await;
    let agent = world.try_agent("n", &options(&proof_of(&own))).await.unwrap();
    world.agent_data = "n".into();
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "danger_software_tpm").unwrap();
    world.agent_id = ours["id"].as_str().unwrap().to_owned();
    world.register("/own/here", &World::own_selectors()).await;
    let svid = world.json(&["svid", "fetch"]).await;
    assert!(svid.to_string().contains("/own/here"), "{svid}");
    agent.end().await;
    steal(&world);
    assert_eq!(attestations(&world).await, 1);

    // On its own machine it goes on with what it had.
    let agent = world.try_agent("n", &options(&proof_of(&own))).await.unwrap();
    assert!(world.json(&["svid", "fetch"]).await.to_string().contains("/own/here"));
    assert_eq!(attestations(&world).await, 1);
    agent.end().await;

    // Without its TPM it opens nothing, and proves nothing.
    let refused = world.try_agent("stolen", &[]).await.err().unwrap();
    assert!(refused.contains("nothing proves this node"), "{refused}");
    // With another TPM it is another node, which serves none of these identities.
    let _agent = world.try_agent("stolen", &options(&proof_of(&thief))).await.unwrap();
    world.agent_data = "stolen".into();
    assert!(world.logged().contains("sealed by another TPM"), "{}", world.logged());
    assert_eq!(attestations(&world).await, 2);
    let (_, printed, failure) = world.sekisho(&["svid", "fetch"]).await;
    assert!(!printed.contains("/own/here"), "{printed}{failure}");
}

#[tokio::test(start_paused = true)]
async fn an_svid_says_where_its_key_is() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let mut world = World::with(&["--danger-software-tpm-ca", &software.authority(ROOT)]).await;
    world.register("/by/token", &World::own_selectors()).await;
    let claims = async |world: &World| world.json(&["svid", "fetch"]).await[0]["claims"].clone();
    let by_token = claims(&world).await;
    assert_eq!(by_token["tpm.key_class"], "software", "{by_token}");
    assert_eq!((&by_token["hw_attested"], by_token.get("hw_attested_by")), (&serde_json::json!(false), None));

    let _agent = world.try_agent("n", &options(&proof_of(&software))).await.unwrap();
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "danger_software_tpm").unwrap();
    (world.agent_id, world.agent_data) = (ours["id"].as_str().unwrap().to_owned(), "n".into());
    world.register("/by/tpm", &World::own_selectors()).await;
    let by_tpm = claims(&world).await;
    assert_eq!(by_tpm["hw_attested_by"], serde_json::json!(["danger_software_tpm"]), "{by_tpm}");
    // The process's key is in memory; that of its node is in the TPM.
    assert_eq!(by_tpm["tpm.key_class"], "software");
    assert_eq!(by_tpm["danger_software_tpm.key_class"], "software");
    assert_eq!(by_tpm["danger_software_tpm.node_key_class"], "tpm-certified");
    assert_eq!(by_tpm.get("tpm.node_key_class"), None);
}

fn proof_of(software: &Software) -> [String; 4] {
    let socket = software.socket().display().to_string();
    ["--tpm".to_owned(), socket, "--tpm-chain".to_owned(), software.authority(ISSUER)]
}

fn options(given: &[String; 4]) -> [&str; 4] {
    given.each_ref().map(String::as_str)
}
