//! Garbage, floods and foul claims, against a server and an agent that run as processes.

use sekisho_proto::node::sidecar_client::SidecarClient;
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use tonic::Code;

use crate::peers::{attest, stranger};
use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn foul_attestations_are_refused() {
    let world = World::start();
    for (kind, payload, code) in [
        ("join_token", &b"../../spire/server"[..], Code::InvalidArgument),
        ("join_token", b"0123456789abcdef0123456789abcdef", Code::InvalidArgument),
        ("join_token", b"\xff\xfe", Code::InvalidArgument),
        ("x509pop", b"{}", Code::PermissionDenied),
        ("aws_iid", b"{}", Code::InvalidArgument),
    ] {
        let refused = attest(&world, kind, payload).await.err().unwrap();
        assert_eq!(refused.code(), code, "{kind}: {refused:?}");
    }
    let flood = (0..60).map(|_| attest(&world, "join_token", b"0123456789abcdef0123456789abcdef"));
    let results = futures_util::future::join_all(flood).await;
    assert!(results.iter().any(|r| r.as_ref().is_err_and(|status| status.code() == Code::ResourceExhausted)));
    // Another address is not kept waiting by it.
    let made = world.json(&["token", "create"]);
    let mut elsewhere = World::nowhere();
    elsewhere.address = relay_from("127.0.0.2", &world.address).await;
    elsewhere.fingerprint = world.fingerprint.clone();
    attest(&elsewhere, "join_token", made["token"].as_str().unwrap().as_bytes()).await.map(drop).unwrap();
    let flood = (0..60).map(|_| attest(&world, "join_token", b"0123456789abcdef0123456789abcdef"));
    futures_util::future::join_all(flood).await;
    eventually("a flood is counted where it is not logged", || {
        world.leaves("gap").iter().any(|gap| gap["what"] == "refusals").then_some(())
    });
    let params = vec![NewX509svidParams { entry_id: "e".into(), csr: vec![] }];
    let refused =
        SvidClient::new(stranger(&world)).batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_agents_own_build_is_a_sidecar() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    let refused = SidecarClient::new(sekisho_sdk::agent_channel(&world.agent_socket()))
        .lend(crate::agent_attacks::own_process())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("--sidecar-sha256"), "{}", refused.message());
}

#[test]
fn law_l9_garbage_on_every_port_crashes_nothing() {
    use std::io::Write;
    let mut world = World::start();
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..20 {
        let mut tcp = std::net::TcpStream::connect(&world.address).unwrap();
        let _reset = tcp.write_all(&noise);
        for socket in [world.path("s/api.sock"), world.agent_socket()] {
            let _reset = crate::world::unix(&socket).write_all(&noise);
        }
    }
    assert!(world.server.as_mut().unwrap().child.try_wait().unwrap().is_none());
    assert!(world.agent.as_mut().unwrap().child.try_wait().unwrap().is_none());
    world.text(&["agents", "list"]);
}

/// Passes connections on from an address of this machine; where it listens.
async fn relay_from(address: &str, to: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let (from, to) = (format!("{address}:0").parse().unwrap(), to.parse().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(from).unwrap();
            let mut far = socket.connect(to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    at
}
