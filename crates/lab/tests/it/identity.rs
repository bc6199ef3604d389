//! Identities as workloads get them, by a client of another project and by ours.

use std::process::Command;

use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_spiffe_crate_gets_svids_that_openssl_verifies() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    let endpoint = format!("unix:{}", world.agent_socket().display());

    let client = spiffe::WorkloadApiClient::connect_to(&endpoint).await.unwrap();
    let context = client.fetch_x509_context().await.unwrap();
    let svid = context.default_svid().unwrap();
    assert_eq!(svid.spiffe_id().to_string(), "spiffe://example.org/own/test");

    let (chain, bundle) = (world.path("leaf.pem"), world.path("bundle.pem"));
    std::fs::write(&bundle, world.text(&["bundle", "show"])).unwrap();
    std::fs::write(&chain, pem(svid.leaf().as_ref())).unwrap();
    let verified =
        Command::new("openssl").args(["verify", "-x509_strict", "-CAfile"]).arg(&bundle).arg(&chain).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    let token = client.fetch_jwt_svid(["db"], None).await.unwrap();
    assert_eq!(token.spiffe_id().to_string(), "spiffe://example.org/own/test");
    let validated = client.validate_jwt_token("db", token.token()).await.unwrap();
    assert_eq!(validated.spiffe_id(), token.spiffe_id());
    assert!(client.validate_jwt_token("other", token.token()).await.is_err());
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l14_a_restarted_agent_serves_without_the_server() {
    let mut world = World::start();
    world.register("/own/test", &World::own_selectors());
    let fetch = async |world: &World| {
        let mut client = SpiffeWorkloadApiClient::new(agent_channel(&world.agent_socket()));
        let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
        stream.message().await
    };
    fetch(&world).await.unwrap().unwrap();
    // The cache is written after changes, five times a second at most.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    world.server.take().unwrap().kill();
    world.agent.take().unwrap().kill();
    world.start_agent();
    let message = fetch(&world).await.unwrap().unwrap();
    assert_eq!(message.svids[0].spiffe_id, "spiffe://example.org/own/test");
    world.start_server();
    eventually("the agent finds the server again", || {
        let checks = world.sekisho(&["doctor", "-o", "json"]).1;
        let checks: serde_json::Value = serde_json::from_str(&checks).ok()?;
        checks.as_array()?.iter().find(|c| c["id"] == "agent-server")?["ok"].as_bool()?.then_some(())
    });
}
