//! Attacks on attestation and on the Workload API. Each gets a clear refusal, and the log says so.

use std::process::Command;

use sekisho_proto::node::{LendRequest, sidecar_client::SidecarClient};
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tonic::Code;

use crate::faults::Shim;
use crate::peers::{attest, stranger};
use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn law_l4_of_two_that_show_one_join_token_one_wins() {
    let world = World::start();
    let made = world.json(&["token", "create"]);
    let token = made["token"].as_str().unwrap().as_bytes().to_vec();
    let attempts = (0..8).map(|_| attest(&world, "join_token", &token));
    let results = futures_util::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}

#[test]
fn an_agent_lives_on_past_several_renewals_of_its_own_svid() {
    let shim = Shim::new();
    let options = ["--agent-ttl", "20s", "--x509-ttl", "20s"];
    let world = World::with_environment(&options, shim.environment(), shim.environment());
    let serial = || {
        world.wakes();
        let agents = world.json(&["agents", "list"]);
        agents[0]["svid_serial_number"].as_str().unwrap().to_owned()
    };
    let first = serial();
    shim.run_on(11, 11);
    let second = renewed(&first, &serial);
    shim.run_on(22, 22);
    let third = renewed(&second, &serial);
    assert_ne!(first, third);
    // Past the life of the SVID that the first connection showed, changes still arrive.
    shim.run_on(24, 24);
    world.register("/own/late", &World::own_selectors());
}

fn renewed(old: &str, serial: &dyn Fn() -> String) -> String {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let now = serial();
        if now != old {
            return now;
        }
        assert!(std::time::Instant::now() < end, "the agent did not renew its SVID");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

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

#[test]
fn law_l6_a_banned_agent_stops_and_gets_nothing() {
    let mut world = World::start();
    world.register("/own/test", &World::own_selectors());
    world.text(&["agents", "ban", &world.agent_id.clone()]);
    let mut agent = world.agent.take().unwrap();
    let status = eventually("the banned agent stops", || agent.child.try_wait().unwrap());
    assert!(!status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_the_header_is_refused_on_every_service() {
    let world = World::start();
    let plain = sekisho_net::grpc_over_unix(world.agent_socket());
    let refused = SpiffeWorkloadApiClient::new(plain.clone()).fetch_x509svid(X509svidRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = sekisho_proto::node::inspect_client::InspectClient::new(plain)
        .status(sekisho_proto::node::StatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_cannot_open_streams_without_end() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    let client = SpiffeWorkloadApiClient::new(agent(&world));
    let mut open = vec![];
    let refused = loop {
        match client.clone().fetch_x509svid(X509svidRequest {}).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
        assert!(open.len() < 2000);
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    eventually("it is on record", || {
        let listed = world.json(&["decisions", "--effect", "refusal"]);
        listed.to_string().contains("has 1024 streams open").then_some(())
    });
    open.clear();
    // The places are free again.
    for _ in 0..100 {
        if client.clone().fetch_x509svid(X509svidRequest {}).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("closed streams were not given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l5_a_user_who_asks_without_end_fills_no_spool_and_is_counted() {
    let world = World::start();
    let ask = async || {
        let mut client = SpiffeWorkloadApiClient::new(agent(&world));
        client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner().message().await.unwrap_err().code()
    };
    for _ in 0..200 {
        assert_eq!(ask().await, Code::PermissionDenied);
    }
    // The next one that is recorded brings along how many were not.
    let mut asked = 200;
    eventually("each is recorded or counted", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ask()));
        asked += 1;
        let lost: u64 = world.leaves("gap").iter().map(|gap| gap["lost"].as_u64().unwrap()).sum();
        let listed =
            world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]).as_array().unwrap().len() as u64;
        // The last one may be on its way.
        (lost > 0 && listed > 0 && lost + listed + 2 >= asked && lost + listed <= asked).then_some(())
    });
}

fn agent(world: &World) -> sekisho_sdk::AgentChannel {
    sekisho_sdk::agent_channel(&world.agent_socket())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_agents_own_build_may_act_as_a_sidecar() {
    let world = World::start();
    world.register("/own/test", &World::own_selectors());
    let refused = SidecarClient::new(agent(&world)).lend(own_process()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("--sidecar-sha256"), "{}", refused.message());
}

fn own_process() -> LendRequest {
    let own = sekisho_host::Process::open(std::process::id().cast_signed()).unwrap();
    LendRequest { workload_pid: own.pid(), workload_start_time: own.start_time(), spiffe_id: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l11_a_number_that_was_given_to_another_process_borrows_nothing() {
    // This test acts as a sidecar.
    let own = crate::world::digest(&std::env::current_exe().unwrap());
    let world = World::with_environment(&[], vec![], vec![("SEKISHO_SIDECAR_SHA256".into(), own)]);
    world.register("/own/test", &World::own_selectors());
    let good = own_process();
    let lent =
        SidecarClient::new(agent(&world)).lend(good.clone()).await.unwrap().into_inner().message().await.unwrap();
    assert_eq!(lent.unwrap().spiffe_id, "spiffe://example.org/own/test");
    for start_time in [0, good.workload_start_time + 1] {
        let other = LendRequest { workload_start_time: start_time, ..good.clone() };
        let refused = SidecarClient::new(agent(&world)).lend(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    }
}

/// SPIRE #6972: what is handed to another program must not be an operator's identity.
#[tokio::test(flavor = "multi_thread")]
async fn an_operators_identity_is_lent_to_no_sidecar() {
    let own = crate::world::digest(&std::env::current_exe().unwrap());
    let world = World::with_environment(&[], vec![], vec![("SEKISHO_SIDECAR_SHA256".into(), own)]);
    let entry = world.register("/own/operator", &World::own_selectors());
    world.text(&["entry", "update", &entry, "--admin", "true"]);
    let mut refused = None;
    for _ in 0..100 {
        // The agent may not have heard of it yet.
        let mut lent = SidecarClient::new(agent(&world)).lend(own_process()).await.unwrap().into_inner();
        refused = lent.message().await.err();
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(refused.unwrap().code(), Code::PermissionDenied);
    // Beside it, an ordinary identity is lent.
    world.register("/own/plain", &World::own_selectors());
    let lent = SidecarClient::new(agent(&world)).lend(own_process()).await.unwrap().into_inner().message().await;
    assert_eq!(lent.unwrap().unwrap().spiffe_id, "spiffe://example.org/own/plain");
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

#[test]
fn rest_refuses_browsers_and_foreign_names() {
    let world = World::start();
    let socket = world.path("s/api.sock");
    let ask = |headers: &str| {
        let request = format!("GET /v1/health HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        crate::world::raw(&mut crate::world::unix(&socket), &request)
    };
    assert!(ask("host: localhost\r\n").starts_with("HTTP/1.1 200"), "{}", ask("host: localhost\r\n"));
    assert!(ask("host: evil.example\r\n").starts_with("HTTP/1.1 403"));
    assert!(ask("host: localhost\r\norigin: https://evil.example\r\n").starts_with("HTTP/1.1 403"));
}

#[test]
fn a_node_attests_by_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let done = Command::new("sh").arg("-ec").arg(script).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=nodes \
         -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign 2>/dev/null
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout node.key -out node.csr -subj /CN=node-7 2>/dev/null
         printf 'keyUsage=critical,digitalSignature\nbasicConstraints=CA:false\n' > ext
         openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out node.pem -extfile ext 2>/dev/null");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let world = World::with(&["--x509pop-ca", &path("ca.pem")]);
    let mut command = world.agent_command("n", &folder.path().join("none"));
    command.args(["--node-cert", &path("node.pem"), "--node-key", &path("node.key")]);
    let agent = crate::world::Role::start(&mut command);
    agent.ready();
    let agents = world.json(&["agents", "list"]);
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "x509pop").unwrap();
    let selectors: Vec<&str> = ours["selectors"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(selectors.contains(&"x509pop:subject:cn:node-7"), "{selectors:?}");
}
