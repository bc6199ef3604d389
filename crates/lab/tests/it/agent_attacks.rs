//! Attacks on attestation and on the Workload API. Each gets a clear refusal, and the log says so.

use std::process::Command;
use std::time::Duration;

use sekisho_proto::node::{LendRequest, sidecar_client::SidecarClient};
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tonic::Code;

use crate::peers::attest;
use crate::within::{World, eventually};

#[tokio::test(start_paused = true)]
async fn law_l4_one_join_token_admits_one_node() {
    let world = World::start().await;
    let made = world.json(&["token", "create"]).await;
    let token = made["token"].as_str().unwrap().as_bytes().to_vec();
    let attempts = (0..8).map(|_| attest(&world, "join_token", &token));
    let results = futures_util::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_renews_its_own_svid_repeatedly() {
    let world = World::with(&["--agent-ttl", "20s", "--x509-ttl", "20s"]).await;
    let serial = async || {
        let agents = world.json(&["agents", "list"]).await;
        agents[0]["svid_serial_number"].as_str().unwrap().to_owned()
    };
    let run_on = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let first = serial().await;
    run_on(11).await;
    let second = serial().await;
    run_on(11).await;
    let third = serial().await;
    assert!(first != second && second != third, "{first} {second} {third}");
    // Past the life of the SVID that the first connection showed, changes still arrive.
    run_on(2).await;
    world.register("/own/late", &World::own_selectors()).await;
}

#[tokio::test(start_paused = true)]
async fn law_l6_a_banned_agent_stops_and_gets_nothing() {
    let mut world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
    world.text(&["agents", "ban", &world.agent_id.clone()]).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), world.agent.take().unwrap().outcome()).await;
    let said = ended.expect("the banned agent stops").unwrap_err();
    assert!(said.contains("banned"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn every_service_refuses_a_call_without_header() {
    let world = World::start().await;
    let plain = sekisho_net::grpc_over_unix(world.agent_socket());
    let refused = SpiffeWorkloadApiClient::new(plain.clone()).fetch_x509svid(X509svidRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = sekisho_proto::node::inspect_client::InspectClient::new(plain)
        .status(sekisho_proto::node::StatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn one_process_cannot_open_streams_without_end() {
    let world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
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
    eventually("it is on record", async || {
        let listed = world.json(&["decisions", "--effect", "refusal"]).await;
        listed.to_string().contains("has 1024 streams open").then_some(())
    })
    .await;
    open.clear();
    // The places are free again.
    for _ in 0..100 {
        if client.clone().fetch_x509svid(X509svidRequest {}).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("closed streams were not given back");
}

#[tokio::test(start_paused = true)]
async fn law_l5_repeated_refusals_of_a_user_are_counted() {
    let world = World::start().await;
    let ask = async || {
        let mut client = SpiffeWorkloadApiClient::new(agent(&world));
        client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner().message().await.unwrap_err().code()
    };
    for _ in 0..200 {
        assert_eq!(ask().await, Code::PermissionDenied);
    }
    // The next one that is recorded brings along how many were not.
    let mut asked = 200;
    eventually("each is recorded or counted", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ask().await;
        asked += 1;
        let lost: u64 = world.leaves("gap").await.iter().map(|gap| gap["lost"].as_u64().unwrap()).sum();
        let listed =
            world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]).await.as_array().unwrap().len() as u64;
        // The last one may be on its way.
        (lost > 0 && listed > 0 && lost + listed + 2 >= asked && lost + listed <= asked).then_some(())
    })
    .await;
}

fn agent(world: &World) -> sekisho_sdk::AgentChannel {
    sekisho_sdk::agent_channel(&world.agent_socket())
}

pub fn own_process() -> LendRequest {
    let own = sekisho_host::Process::open(std::process::id().cast_signed()).unwrap();
    LendRequest { workload_pid: own.pid(), workload_start_time: own.start_time(), spiffe_id: String::new() }
}

#[tokio::test(start_paused = true)]
async fn law_l11_a_reused_pid_borrows_no_identity() {
    // This test is the agent's own program, and so acts as a sidecar.
    let world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
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
#[tokio::test(start_paused = true)]
async fn no_sidecar_gets_an_operators_identity() {
    let world = World::start().await;
    let entry = world.register("/own/operator", &World::own_selectors()).await;
    world.text(&["entry", "update", &entry, "--admin", "true"]).await;
    let mut refused = None;
    for _ in 0..100 {
        // The agent may not have heard of it yet.
        let mut lent = SidecarClient::new(agent(&world)).lend(own_process()).await.unwrap().into_inner();
        refused = lent.message().await.err();
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refused.unwrap().code(), Code::PermissionDenied);
    // An ordinary identity beside it is delegated.
    world.register("/own/plain", &World::own_selectors()).await;
    let lent = SidecarClient::new(agent(&world)).lend(own_process()).await.unwrap().into_inner().message().await;
    assert_eq!(lent.unwrap().unwrap().spiffe_id, "spiffe://example.org/own/plain");
}

#[tokio::test(start_paused = true)]
async fn rest_refuses_browsers_and_foreign_names() {
    let world = World::start().await;
    let ask = async |headers: &str| {
        let request = format!("GET /v1/health HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        world.raw("s/api.sock", &request).await
    };
    let said = ask("host: localhost\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(ask("host: evil.example\r\n").await.starts_with("HTTP/1.1 403"));
    assert!(ask("host: localhost\r\norigin: https://evil.example\r\n").await.starts_with("HTTP/1.1 403"));
}

#[tokio::test(start_paused = true)]
async fn a_node_attests_by_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let done = Command::new("sh").arg("-ec").arg(script).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 \
         -subj /CN=nodes \
         -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign 2>/dev/null
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout node.key -out node.csr \
         -subj /CN=node-7 2>/dev/null
         printf 'keyUsage=critical,digitalSignature\nbasicConstraints=CA:false\n' > ext
         openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out node.pem \
         -extfile ext 2>/dev/null");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let world = World::with(&["--x509pop-ca", &path("ca.pem")]).await;
    let _agent =
        world.try_agent("n", &["--node-cert", &path("node.pem"), "--node-key", &path("node.key")]).await.unwrap();
    let agents = world.json(&["agents", "list"]).await;
    let ours = agents.as_array().unwrap().iter().find(|a| a["attestation_type"] == "x509pop").unwrap();
    let selectors: Vec<&str> = ours["selectors"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(selectors.contains(&"x509pop:subject:cn:node-7"), "{selectors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_agent_on_one_folder_is_refused() {
    let world = World::start().await;
    let (token, socket) = (world.path("token").display().to_string(), world.path("b.sock").display().to_string());
    let second = world.try_agent("a", &["--join-token-file", &token, "--agent-socket", &socket]).await;
    let (said, own) = (second.err().unwrap(), std::process::id());
    assert!(said.contains(&format!("is in use by process {own};")), "{said}");
}
