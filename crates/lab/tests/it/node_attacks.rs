//! Attacks by nodes: proofs that are not theirs, other nodes' workloads, SVIDs that were replaced.

use sekisho_identity::csr_der;
use sekisho_proto::server::{IssueJwtRequest, ProcessEvidence, RecordRequest, WatchRequest, node_client::NodeClient};
use sekisho_proto::spire::agent::v1::{AgentX509svidParams, RenewAgentRequest, agent_client::AgentClient};
use sekisho_proto::spire::entry::v1::{BatchUpdateEntryRequest, entry_client::EntryClient};
use sekisho_proto::spire::svid::v1::{
    BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams, svid_client::SvidClient,
};
use sekisho_types::{Selector, UnixTime};
use tonic::Code;

use crate::openssl::Openssl;
use crate::peers::{Attested, client, clock, key};
use crate::within::{Role, World, eventually};

/// An agent with this node's certificate and that node's key, or why it is none.
async fn attests(
    world: &World,
    data: &str,
    certificate: &std::path::Path,
    key: &std::path::Path,
) -> Result<Role, String> {
    let proof = ["--node-cert", certificate.to_str().unwrap(), "--node-key", key.to_str().unwrap()];
    world.try_agent(data, &proof).await
}

#[tokio::test(start_paused = true)]
async fn a_node_attests_with_its_own_key_only() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let authority = Openssl::new();
    authority.node(folders[0].path());
    authority.node(folders[1].path());
    Openssl::new().node(folders[2].path());
    let file = |folder: usize, name: &str| folders[folder].path().join(name);
    std::fs::write(file(0, "ca.pem"), authority.authority_pem()).unwrap();
    let world = World::with(&["--x509pop-ca", file(0, "ca.pem").to_str().unwrap()]).await;
    assert!(attests(&world, "stolen", &file(0, "node.pem"), &file(1, "node.key")).await.is_err(), "without the key");
    assert!(
        attests(&world, "foreign", &file(2, "node.pem"), &file(2, "node.key")).await.is_err(),
        "of another authority"
    );
    world.log_says("the proof does not fit").await;
    let nodes = async || {
        let agents = world.json(&["agents", "list"]).await;
        agents
            .as_array()
            .unwrap()
            .iter()
            .filter(|agent| agent["attestation_type"] == "x509pop")
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(nodes().await.is_empty());
    attests(&world, "good", &file(0, "node.pem"), &file(0, "node.key")).await.unwrap().end().await;
    let id = nodes().await[0]["id"].as_str().unwrap().to_owned();
    world.text(&["agents", "ban", &id]).await;
    assert!(
        attests(&world, "again", &file(0, "node.pem"), &file(0, "node.key")).await.is_err(),
        "a ban is not attested away"
    );
    assert_eq!(nodes().await[0]["banned"], true, "{:?}", nodes().await);
}

#[tokio::test(start_paused = true)]
async fn law_l6_every_issuing_call_refuses_other_nodes_entries() {
    let world = World::start().await;
    let (own, other) = (Attested::new(&world).await, Attested::new(&world).await);
    let entry = other.entry(&world, "/other/a").await;
    let csr = csr_der(&key(), None).unwrap();
    let channel = || own.channel.clone();
    // The answer does not even say that there is one.
    assert_eq!(own.issue(&entry).await.unwrap_err().code(), Code::NotFound);
    let params = vec![NewX509svidParams { entry_id: entry.clone(), csr }];
    let answer = SvidClient::new(channel()).batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap();
    let result = answer.into_inner().results.remove(0);
    let refused = result.status.unwrap();
    assert!(result.svid.is_none() && refused.code == Code::NotFound as i32, "{refused:?}");
    let request = NewJwtsvidRequest { entry_id: entry.clone(), audience: vec!["a".into()] };
    let refused = SvidClient::new(channel()).new_jwtsvid(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    let selectors = sekisho_proto::selectors_to_wire(&[Selector::parse("unix:uid:7").unwrap()]);
    let evidence = ProcessEvidence { source: "unix/1".into(), measured_at_ns: clock().nanos(), selectors };
    let request = IssueJwtRequest { entry_id: entry, audience: vec!["a".into()], evidence: Some(evidence) };
    let refused = NodeClient::new(channel()).issue_jwt(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert!(world.leaves("issuance").await.iter().all(|leaf| leaf["what"] != "jwt-svid"));
}

#[tokio::test(start_paused = true)]
async fn law_l6_a_node_records_only_its_own_decisions() {
    let world = World::start().await;
    let (own, other) = (Attested::new(&world).await, Attested::new(&world).await);
    own.entry(&world, "/own/a").await;
    other.entry(&world, "/other/a").await;
    let send = async |id: &str, about: &str, key: &str| {
        let input = format!(r#""input":{{"destination":"spiffe://example.org{about}"}}"#);
        let at = clock().millis();
        let record = format!(r#"{{"id":"dec_{at:012x}{id}","at_ms":{at},"kind":"decision","effect":"allow",{input}}}"#);
        let request = RecordRequest { records: vec![record.into()], lost: 0, batch_key: key.into() };
        NodeClient::new(own.channel.clone()).record(request).await
    };
    send("667788990000000000aa", "/own/a", "s:0").await.unwrap();
    // A sidecar's spool is named after its workload, whose ID may be as long as any.
    let long = format!("spiffe://example.org/{}/0123456789abcdef0123456789abcdef:0", "a".repeat(2000));
    send("667788990000000000ba", "/own/a", &long).await.unwrap();
    // It may have been this node's before its entry was deleted.
    send("667788990000000000ab", "/gone", "s:1").await.unwrap();
    let refused = send("667788990000000000ac", "/other/a", "s:2").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    world.log_says("which is not a workload of this node").await;
    let listed = world.json(&["decisions"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_agent_svid_is_accepted_once_more() {
    let world = World::start().await;
    let first = Attested::new(&world).await;
    let entry = first.entry(&world, "/own/a").await;
    let renew = async |channel| {
        let key = key();
        let params = Some(AgentX509svidParams { csr: csr_der(&key, None).unwrap() });
        let renewed = AgentClient::new(channel).renew_agent(RenewAgentRequest { params }).await.unwrap();
        let chain = renewed.into_inner().svid.unwrap().cert_chain;
        let identity = sekisho_net::Identity { chain, key: key.pkcs8().clone() };
        client(&world, Some(&identity))
    };
    let second = renew(first.channel.clone()).await;
    // The answer may have been lost: the SVID before is good until the new one renews.
    first.issue(&entry).await.unwrap();
    renew(second).await;
    let refused = first.issue(&entry).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    world.log_says("replaced").await;
}

#[tokio::test(start_paused = true)]
async fn law_l6_a_superseded_agent_svid_is_refused_everywhere() {
    let world = World::start().await;
    let first = Attested::new(&world).await;
    let entry = first.entry(&world, "/own/a").await;
    let renew = async |channel| {
        let key = key();
        let params = Some(AgentX509svidParams { csr: csr_der(&key, None).unwrap() });
        let renewed = AgentClient::new(channel).renew_agent(RenewAgentRequest { params }).await?;
        let chain = renewed.into_inner().svid.unwrap().cert_chain;
        Ok::<_, tonic::Status>(client(&world, Some(&sekisho_net::Identity { chain, key: key.pkcs8().clone() })))
    };
    let changes = NodeClient::new(first.channel.clone()).watch(tokio_stream::pending()).await.unwrap();
    let mut changes = changes.into_inner();
    changes.message().await.unwrap().unwrap();
    let lost = renew(first.channel.clone()).await.unwrap();
    // The answer may have been lost: what is shown is good, and renews, until a successor is used.
    first.issue(&entry).await.unwrap();
    let second = renew(first.channel.clone()).await.unwrap();
    // Its first use, whatever for.
    let status = sekisho_proto::spire::agent::v1::PostStatusRequest::default;
    AgentClient::new(second.clone()).post_status(status()).await.unwrap();
    let channel = || first.channel.clone();
    let jwt = NewJwtsvidRequest { entry_id: entry.clone(), audience: vec!["a".into()] };
    let refusals = [
        first.issue(&entry).await.map(drop).unwrap_err(),
        renew(channel()).await.map(drop).unwrap_err(),
        SvidClient::new(channel()).new_jwtsvid(jwt).await.map(drop).unwrap_err(),
        AgentClient::new(channel()).post_status(status()).await.map(drop).unwrap_err(),
        NodeClient::new(channel()).record(RecordRequest::default()).await.map(drop).unwrap_err(),
        renew(lost).await.map(drop).unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert!(refused.message().contains("replaced"), "{refused:?}");
    }
    // A stream that it opened ends as well, also if nothing else happens.
    let ended = async {
        while changes.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied);
    // The successor is none the worse for it, and neither is a restart of the server.
    renew(second).await.unwrap();
}

/// A decision about a workload as a node records it, in a batch of its own.
pub async fn decides(peer: &Attested, at: UnixTime, about: &str, key: &str) -> Result<u64, tonic::Status> {
    let id = format!("{:012x}{:020x}", at.millis(), at.nanos());
    let input = format!(r#""input":{{"destination":"spiffe://example.org{about}"}}"#);
    let record = format!(r#"{{"id":"dec_{id}","at_ms":{},"kind":"decision","effect":"allow",{input}}}"#, at.millis());
    let request = RecordRequest { records: vec![record.into()], lost: 0, batch_key: key.into() };
    Ok(NodeClient::new(peer.channel.clone()).record(request).await?.into_inner().log_index)
}

#[tokio::test(start_paused = true)]
async fn law_l5_late_decisions_of_moved_workloads_are_recorded() {
    let world = World::start().await;
    let (here, there) = (Attested::new(&world).await, Attested::new(&world).await);
    let moved = here.entry(&world, "/own/moves").await;
    let id = world.json(&["entry", "show", &moved]).await["spiffe_id"].as_str().unwrap().to_owned();
    let entry = sekisho_proto::types::Entry {
        id: moved,
        parent_id: sekisho_types::SpiffeId::parse(&there.id).ok().map(|id| sekisho_proto::id_to_wire(&id)),
        ..Default::default()
    };
    let mask = sekisho_proto::types::EntryMask { parent_id: true, ..Default::default() };
    let request = BatchUpdateEntryRequest { entries: vec![entry], input_mask: Some(mask), output_mask: None };
    let mut registry = EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    let updated = registry.batch_update_entry(request).await.unwrap().into_inner().results.remove(0);
    assert_eq!(updated.status.unwrap().code, Code::Ok as i32);
    let path = id.strip_prefix("spiffe://example.org").unwrap();
    decides(&here, clock(), path, "s:0").await.unwrap();
    decides(&there, clock(), path, "s:0").await.unwrap();
    // A node that never served it does not pass for one that did.
    let refused = decides(&Attested::new(&world).await, clock(), path, "s:0").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn law_l6_a_node_alias_serves_only_selected_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Openssl::new();
    authority.node(folder.path());
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("ca.pem"), authority.authority_pem()).unwrap();
    let mut world = World::with(&["--x509pop-ca", file("ca.pem").to_str().unwrap()]).await;
    let _node = attests(&world, "n", &file("node.pem"), &file("node.key")).await.unwrap();
    let create = async |id: &str, parent: &str, selector: &str| {
        let arguments = ["entry", "create", "--spiffe-id", id, "--parent-id", parent, "--selector", selector];
        world.json(&arguments).await["id"].as_str().unwrap().to_owned()
    };
    let fleet = "spiffe://example.org/fleet";
    let alias = create(fleet, "spiffe://example.org/spire/server", "x509pop:subject:cn:node-7").await;
    create("spiffe://example.org/own/everywhere", fleet, "unix:uid:7").await;
    // SPIRE serves what lies below it as well.
    create("spiffe://example.org/own/below", "spiffe://example.org/own/everywhere", "unix:uid:7").await;
    create("spiffe://example.org/own/deeper", "spiffe://example.org/own/below", "unix:uid:7").await;
    let count = async |world: &World| {
        let why = world.json(&["why", "identity", "--selectors", "unix:uid:7"]).await;
        why["matched"].as_array().map_or(0, Vec::len)
    };
    let matched = async |world: &World| count(world).await > 0;
    world.agent_data = "n".into();
    eventually("the node that the alias selects hears of the entries", async || {
        (count(&world).await == 3).then_some(())
    })
    .await;
    world.agent_data = "a".into();
    assert!(!matched(&world).await, "a node without the selector");
    world.text(&["entry", "delete", &alias]).await;
    world.agent_data = "n".into();
    // SPIRE #6946: the alias outlived what it came from.
    eventually("no agent serves it any more", async || (!matched(&world).await).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn ids_of_servers_and_agents_are_reserved() {
    let world = World::start().await;
    for (id, parent, selector, said) in [
        ("/spire/server", world.agent_id.as_str(), "unix:uid:7", "reserved"),
        ("/spire/agent/join_token/x", &world.agent_id, "unix:uid:7", "reserved"),
        ("", &world.agent_id, "unix:uid:7", "not in trust domain"),
        ("/own/../a", &world.agent_id, "unix:uid:7", "segment"),
        ("/own/a", "spiffe://other.org/spire/agent/x", "unix:uid:7", "not in trust domain"),
        ("/own/a", &world.agent_id, "", "selector"),
    ] {
        let id = format!("spiffe://example.org{id}");
        let arguments = ["entry", "create", "--spiffe-id", &id, "--parent-id", parent, "--selector", selector];
        let (code, _, error) = world.sekisho(&arguments).await;
        assert!(code != 0 && error.contains(said), "{arguments:?}: {code} {error}");
    }
    assert_eq!(world.json(&["entry", "list"]).await.as_array().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_reports_only_its_own_sidecars_policy() {
    let world = World::start().await;
    let (own, other) = (Attested::new(&world).await, Attested::new(&world).await);
    own.entry(&world, "/own/a").await;
    other.entry(&world, "/other/a").await;
    let (send, reports) = tokio::sync::mpsc::channel(4);
    let reports = tokio_stream::wrappers::ReceiverStream::new(reports);
    let _changes = NodeClient::new(own.channel.clone()).watch(reports).await.unwrap();
    let report = |revision: u64| WatchRequest {
        applied_revision: 0,
        policy_in_force: ["/own/a", "/other/a", "/nobody"]
            .map(|path| (format!("spiffe://example.org{path}"), revision))
            .into(),
        ..Default::default()
    };
    let in_force = async || {
        let ask = "GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let said = world.raw("s/api.sock", ask).await;
        let health: serde_json::Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        health["policy_in_force"].clone()
    };
    send.send(report(77)).await.unwrap();
    let expected = serde_json::json!({"spiffe://example.org/own/a": {&own.id: 77}});
    eventually("the report counts for its own workload only", async || (in_force().await == expected).then_some(()))
        .await;
    // One identity on two nodes, of which one is behind.
    other.entry(&world, "/own/a").await;
    let (say, said) = tokio::sync::mpsc::channel(4);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let _changes = NodeClient::new(other.channel.clone()).watch(said).await.unwrap();
    say.send(report(5)).await.unwrap();
    let expected = serde_json::json!({
        "spiffe://example.org/own/a": {&own.id: 77, &other.id: 5}, "spiffe://example.org/other/a": {&other.id: 5},
    });
    eventually("neither node hides the other", async || (in_force().await == expected).then_some(())).await;
    world.text(&["agents", "ban", &own.id]).await;
    let _gone = send.send(report(78)).await;
    let _gone = send.send(report(78)).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(in_force().await, expected, "a banned node reports nothing");
}
