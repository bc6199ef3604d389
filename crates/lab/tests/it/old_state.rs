//! A checkpoint that is older than its log, and an agent whose own SVID has expired: what is started then.

use std::time::Duration;

use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};

use crate::openssl::Openssl;
use crate::peers::Attested;
use crate::within::{World, eventually};

/// The serial number of the first SVID that the agent gives this process, if it gives one.
async fn svid(world: &World) -> Option<String> {
    let mut client = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let asked = async { client.fetch_x509svid(X509svidRequest {}).await.ok()?.into_inner().message().await.ok()? };
    let answer = tokio::time::timeout(Duration::from_secs(15), asked).await.ok()??;
    let chain = sekisho_identity::split_chain(&answer.svids.first()?.x509_svid).ok()?;
    Some(sekisho_identity::leaf_facts(&chain[0]).ok()?.serial)
}

#[tokio::test(start_paused = true)]
async fn an_older_checkpoint_takes_nothing_back() {
    let mut world = World::start().await;
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/rolled").await;
    let checkpoint = world.path("s/ledger/checkpoint");
    let size = |note: &str| note.lines().nth(1).unwrap().parse::<u64>().unwrap();
    peer.issue(&entry).await.unwrap();
    let older = eventually("a checkpoint", async || std::fs::read_to_string(&checkpoint).ok()).await;
    let (_, index) = {
        for _ in 0..20 {
            peer.issue(&entry).await.unwrap();
        }
        peer.issue(&entry).await.unwrap()
    };
    let newer = eventually("a checkpoint over it", async || {
        std::fs::read_to_string(&checkpoint).ok().filter(|note| size(note) > index)
    })
    .await;
    world.stop_server().await;
    std::fs::write(&checkpoint, &older).unwrap();
    world.start_server().await;
    let now = std::fs::read_to_string(&checkpoint).unwrap();
    assert!(size(&now) >= size(&newer), "{older} {newer} {now}");
    let (_, next) = peer.issue(&entry).await.unwrap();
    assert!(next > index);
    // And it is the same log: what was proven before stands.
    world.text(&["prove", &index.to_string(), "--file", "./p", "--trust-policy", "./trust"]).await;
    world.json(&["verify", "./p", "--trust-policy", "./trust"]).await;
}

#[tokio::test(start_paused = true)]
async fn law_l14_an_agent_survives_a_long_server_outage() {
    let openssl = Openssl::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    openssl.node(folder.path());
    std::fs::write(path("ca.pem"), openssl.authority_pem()).unwrap();
    let options = ["--x509pop-ca", &path("ca.pem"), "--agent-ttl", "20s", "--x509-ttl", "600s"];
    let mut world = World::with_server(&options).await;
    let proof = ["--node-cert", &path("node.pem"), "--node-key", &path("node.key")];
    world.agent = Some(world.try_agent("n", &proof).await.unwrap());
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "x509pop").unwrap();
    world.agent_id = ours["id"].as_str().or(ours["spiffe_id"].as_str()).unwrap().to_owned();
    world.agent_data = "n".into();
    world.register("/own/long", &World::own_selectors()).await;
    let first = svid(&world).await.unwrap();
    world.stop_server().await;
    tokio::time::sleep(Duration::from_secs(24)).await;
    assert_eq!(svid(&world).await.as_ref(), Some(&first), "what is held serves on");
    // A restart in the outage, with an own SVID that has expired.
    world.stop_agent().await;
    world.agent = Some(world.try_agent("n", &proof).await.unwrap());
    assert_eq!(svid(&world).await.as_ref(), Some(&first), "and over a restart");
    world.start_server().await;
    world.register("/own/back", &["unix:uid:98".to_owned()]).await;
    assert!(svid(&world).await.is_some());
}
