//! Attacks on the time between a decision and its signature: what is revoked gives nothing after the revocation's
//! answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sekisho_identity::csr_der;
use sekisho_proto::server::node_client::NodeClient;
use sekisho_proto::server::{IssueJwtRequest, IssueX509Request, ProcessEvidence, issue_x509_request::Item};
use sekisho_proto::spire::agent::v1::{AgentX509svidParams, RenewAgentRequest, agent_client::AgentClient};
use sekisho_proto::spire::entry::v1::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, entry_client::EntryClient,
};
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use sekisho_proto::types;
use sekisho_types::Selector;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::faults::{Full, Shim};
use crate::peers::{Attested, client, clock, key};
use crate::world::World;

/// Asks without a pause until refused for good, and notes when each SVID came.
fn hammer(channel: Channel, entries: Vec<String>, how: usize) -> (Arc<AtomicBool>, JoinHandle<Vec<Instant>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    let csr = csr_der(&key(), None).unwrap();
    let task = tokio::spawn(async move {
        let mut received = vec![];
        while !stopping.load(Ordering::Relaxed) {
            let count = ask(&channel, &entries, &csr, how).await.unwrap_or(0);
            received.extend(std::iter::repeat_n(Instant::now(), count));
        }
        received
    });
    (stop, task)
}

/// How many SVIDs one call brings.
async fn ask(channel: &Channel, entries: &[String], csr: &[u8], how: usize) -> Result<usize, Status> {
    let evidence = || ProcessEvidence {
        source: "unix/1".into(),
        measured_at_ns: clock().nanos(),
        selectors: sekisho_proto::selectors_to_wire(&[Selector::parse("unix:uid:7").unwrap()]),
    };
    match how {
        0 => {
            let items = entries.iter().map(|entry| Item {
                entry_id: entry.clone(),
                csr: csr.to_vec(),
                evidence: Some(evidence()),
                key: None,
            });
            let request = IssueX509Request { items: items.collect() };
            let answer = NodeClient::new(channel.clone()).issue_x509(request).await?.into_inner();
            Ok(answer.results.iter().filter(|result| result.svid.is_some()).count())
        }
        1 => {
            let params = entries.iter().map(|entry| NewX509svidParams { entry_id: entry.clone(), csr: csr.to_vec() });
            let request = BatchNewX509svidRequest { params: params.collect() };
            let answer = SvidClient::new(channel.clone()).batch_new_x509svid(request).await?.into_inner();
            Ok(answer.results.iter().filter(|result| result.svid.is_some()).count())
        }
        2 => {
            let entry_id = entries[0].clone();
            let request = IssueJwtRequest { entry_id, audience: vec!["db".into()], evidence: Some(evidence()) };
            let answer = NodeClient::new(channel.clone()).issue_jwt(request).await?.into_inner();
            Ok(usize::from(answer.svid.is_some()))
        }
        _ => {
            let params = Some(AgentX509svidParams { csr: csr.to_vec() });
            let answer = AgentClient::new(channel.clone()).renew_agent(RenewAgentRequest { params }).await?;
            Ok(usize::from(answer.into_inner().svid.is_some()))
        }
    }
}

pub struct Operator(pub Channel);

impl Operator {
    pub async fn entries(&self, agent: &str, from: usize, count: usize) -> Vec<String> {
        let id = |path: &str| Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() });
        let agent = agent.strip_prefix("spiffe://example.org").unwrap();
        let entry = |n: usize| types::Entry {
            spiffe_id: id(&format!("/hammer/e{n}")),
            parent_id: id(agent),
            selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:7".into() }],
            ..Default::default()
        };
        let request = BatchCreateEntryRequest { entries: (from..from + count).map(entry).collect(), output_mask: None };
        let answer = EntryClient::new(self.0.clone()).batch_create_entry(request).await.unwrap().into_inner();
        answer.results.into_iter().map(|result| result.entry.unwrap().id).collect()
    }

    pub async fn delete(&self, ids: Vec<String>) {
        let request = BatchDeleteEntryRequest { ids };
        let answer = EntryClient::new(self.0.clone()).batch_delete_entry(request).await.unwrap().into_inner();
        assert!(answer.results.iter().all(|result| result.status.as_ref().unwrap().code == Code::Ok as i32));
    }

    /// Over the socket, without a process of its own: the start of a process would be measured too.
    async fn agents(&self, world: &World, verb: &str, id: &str) {
        let socket = world.path("s/api.sock");
        let body = serde_json::json!({ "id": id }).to_string();
        let request = match verb {
            "ban" => format!(
                "POST /v1/agents/ban HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            ),
            _ => format!("DELETE /v1/agents?id={id} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        };
        let answer = tokio::task::spawn_blocking(move || crate::world::raw(&mut crate::world::unix(&socket), &request));
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l6_after_an_acknowledged_revocation_nothing_is_issued() {
    // An fsync of some milliseconds keeps many issuances between their leaf and their signature.
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    shim.set(0, 8, Full::None);
    let operator = Operator(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    let (mut before, mut after) = (0, 0);
    for round in 0..15 {
        let agent = Attested::new(&world).await;
        let entries = operator.entries(&agent.id, round * 20, 20).await;
        let hammers: Vec<_> = (0..8)
            .map(|n| {
                // One in four renews, and so shows an SVID that is replaced all the time.
                (n % 4 == 3, hammer(client(&world, Some(&agent.identity)), entries.clone(), n % 4))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150)).await;
        match round % 3 {
            0 => operator.agents(&world, "ban", &agent.id).await,
            1 => operator.agents(&world, "evict", &agent.id).await,
            _ => operator.delete(entries).await,
        }
        let acknowledged = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for (renews, (stop, task)) in hammers {
            stop.store(true, Ordering::Relaxed);
            let received = task.await.unwrap();
            // An agent whose entries are gone may renew its own SVID.
            let early = received.iter().filter(|at| **at <= acknowledged).count();
            before += early;
            after += if renews && round % 3 == 2 { 0 } else { received.len() - early };
        }
    }
    println!("{before} SVIDs before the acknowledgements, {after} after");
    assert!(before > 500, "{before}");
    assert_eq!(after, 0);
    // And the log says which issuances, whose leaves it holds, came to nothing.
    crate::world::eventually("what was withdrawn", || {
        world.leaves("refusal").iter().any(|leaf| leaf["withdrawn"].is_string()).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l6_revocation_during_issuance_prevents_the_signature() {
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    let agent = &Attested::new(&world).await;
    let (deleted, changed) = (agent.entry(&world, "/own/deleted").await, agent.entry(&world, "/own/changed").await);
    let registry = || EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    // While the change is being written identities are asked for again and again: some wait for their leaf when it is
    // done.
    shim.set(0, 1000, Full::None);
    let issue = async |entry: &str| {
        let asks = (0..20).map(|n| async move {
            tokio::time::sleep(Duration::from_millis(n * 100)).await;
            agent.issue(entry).await
        });
        futures_util::future::join_all(asks).await
    };
    let request = BatchDeleteEntryRequest { ids: vec![deleted.clone()] };
    let (mut operator, asked) = (registry(), issue(&deleted));
    let (answer, gone) = tokio::join!(operator.batch_delete_entry(request), asked);
    answer.unwrap();
    let entry = types::Entry { id: changed.clone(), hint: "other".into(), ..Default::default() };
    let input_mask = Some(types::EntryMask { hint: true, ..Default::default() });
    let request = BatchUpdateEntryRequest { entries: vec![entry], input_mask, output_mask: None };
    let (answer, other) = tokio::join!(operator.batch_update_entry(request), issue(&changed));
    answer.unwrap();
    shim.set(0, 0, Full::None);
    for (answers, entry, code) in [(gone, &deleted, Code::NotFound), (other, &changed, Code::Aborted)] {
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(!refused.is_empty() && refused.iter().all(|refused| refused.code() == code), "{refused:?}");
        crate::world::eventually("a leaf that withdraws an issuance of this entry", || {
            let issuances = world.leaves("issuance");
            let of_entry = |id: &serde_json::Value| {
                issuances.iter().any(|leaf| leaf["id"] == *id && leaf["entry"] == entry.as_str())
            };
            world.leaves("refusal").iter().any(|leaf| of_entry(&leaf["withdrawn"])).then_some(())
        });
    }
    agent.issue(&changed).await.unwrap();
}
