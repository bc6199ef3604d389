//! One agent's load, and what another agent feels of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sekisho_identity::csr_der;
use sekisho_proto::selectors_to_wire;
use sekisho_proto::server::{IssueX509Request, ProcessEvidence, issue_x509_request::Item, node_client::NodeClient};
use sekisho_types::Selector;

use crate::peers::{Attested, client, clock, key};
use crate::world::World;

/// Connections of the agent that asks for much, and what it asks for at once on each.
const CONNECTIONS: usize = 6;
const ITEMS: usize = 200;

fn items(entry: &str, csr: &[u8], count: usize) -> IssueX509Request {
    let selectors = [Selector::parse("unix:uid:7").unwrap()];
    let evidence = ProcessEvidence {
        source: "unix/1".to_owned(),
        measured_at_ns: clock().nanos(),
        selectors: selectors_to_wire(&selectors),
    };
    let item = Item { entry_id: entry.to_owned(), csr: csr.to_vec(), evidence: Some(evidence), key: None };
    IssueX509Request { items: vec![item; count] }
}

/// How long issuing takes for an agent that asks for one identity after the other, in the middle of `count`.
async fn middle(agent: &Attested, entry: &str, count: usize) -> Duration {
    let (csr, mut took) = (csr_der(&key(), None).unwrap(), vec![]);
    let mut server = NodeClient::new(agent.channel.clone());
    for _ in 0..count {
        let (request, began) = (items(entry, &csr, 1), Instant::now());
        let answer = server.issue_x509(request).await.unwrap().into_inner();
        took.push(began.elapsed());
        assert!(answer.results[0].svid.is_some());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort_unstable();
    took[took.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l9_one_agent_delays_another_little() {
    let world = World::start();
    let (much, little) = (Attested::new(&world).await, Attested::new(&world).await);
    let (entry, own) = (much.entry(&world, "/own/much").await, little.entry(&world, "/own/little").await);
    let idle = middle(&little, &own, 60).await;

    let (ends, issued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let floods: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut server = NodeClient::new(client(&world, Some(&much.identity)));
            let (entry, csr) = (entry.clone(), csr_der(&key(), None).unwrap());
            let (ends, issued) = (ends.clone(), issued.clone());
            tokio::spawn(async move {
                while !ends.load(Relaxed) {
                    let answer = server.issue_x509(items(&entry, &csr, ITEMS)).await.unwrap().into_inner();
                    issued.fetch_add(answer.results.iter().filter(|one| one.svid.is_some()).count(), Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (began, before) = (Instant::now(), issued.load(Relaxed));
    let loaded = middle(&little, &own, 60).await;
    let rate = (issued.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    ends.store(true, Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    eprintln!("p50 {idle:?} alone, {loaded:?} beside an agent that was issued {rate:.0} a second");
    assert!(rate > 100.0, "the other agent was issued {rate:.0} a second: nothing was measured");
    let allowed = idle * 8 + Duration::from_millis(20);
    assert!(loaded < allowed, "p50 {loaded:?} beside the other agent, {idle:?} alone");
}
