//! A server with many entries: what it costs to create them, to list them, to take a node's record and to start with
//! them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_proto::spire::entry::v1 as wire;
use sekisho_proto::spire::entry::v1::entry_client::EntryClient;
use sekisho_proto::types;
use tonic::transport::Channel;

use crate::peers::{Attested, clock};
use crate::world::{World, cpu_micros, rss_mb};

const PER_CALL: usize = 500;

/// What was measured, for `cargo xtask bench`.
pub struct Measured {
    pub created_per_second: f64,
    /// Of the server, for each entry, until its leaf is in the log.
    pub create_micros: f64,
    pub longest_page: Duration,
    /// The median: each waits for the disk.
    pub record: Duration,
    pub start: Duration,
    /// Behind the creation, and behind the start.
    pub rss_mb: (f64, f64),
}

fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() })
}

fn registry(world: &World) -> EntryClient<Channel> {
    EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock"))).max_decoding_message_size(1 << 26)
}

/// Creates entries under so many parents, 500 in a call: how many a second, and microseconds of the server's time for
/// each.
pub async fn create(world: &World, count: usize, parents: usize) -> (f64, f64) {
    let (mut registry, server) = (registry(world), world.server.as_ref().unwrap().pid());
    let (began, before) = (Instant::now(), cpu_micros(server));
    for first in (0..count).step_by(PER_CALL) {
        let entry = |n: usize| types::Entry {
            spiffe_id: id(&format!("/bench/e{n}")),
            parent_id: id(&format!("/spire/agent/join_token/node{}", n % parents)),
            selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:4242".into() }],
            ..Default::default()
        };
        let entries = (first..count.min(first + PER_CALL)).map(entry).collect();
        let request = wire::BatchCreateEntryRequest { entries, output_mask: None };
        let answer = registry.batch_create_entry(request).await.unwrap().into_inner();
        assert!(answer.results.iter().all(|result| result.status.as_ref().unwrap().code == 0));
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    // Their leaves follow.
    let settled = |before: f64, after: f64| after - before < 20_000.0;
    let mut last = cpu_micros(server);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = cpu_micros(server);
        if settled(last, now) {
            return (rate, (now - before) / count as f64);
        }
        last = now;
    }
}

/// All that a filter admits, page by page, and the longest wait for a page.
async fn list(world: &World, filter: wire::Filter) -> (BTreeSet<String>, Duration) {
    let (mut registry, mut found, mut longest) = (registry(world), BTreeSet::new(), Duration::ZERO);
    let mut page_token = String::new();
    loop {
        let request = wire::ListEntriesRequest {
            filter: Some(filter.clone()),
            output_mask: None,
            page_size: 1000,
            page_token: page_token.clone(),
        };
        let began = Instant::now();
        let page = registry.list_entries(request).await.unwrap().into_inner();
        longest = longest.max(began.elapsed());
        for entry in page.entries {
            assert!(found.insert(entry.id), "an entry stands on two pages");
        }
        if page.next_page_token.is_empty() {
            return (found, longest);
        }
        assert!(page.next_page_token > page_token, "pages go on");
        page_token = page.next_page_token;
    }
}

pub async fn measure(world: &mut World, count: usize, parents: usize) -> Measured {
    use wire::Filter;
    let node = Attested::new(world).await;
    node.entry(world, "/bench/own").await;
    let (created_per_second, create_micros) = create(world, count, parents).await;
    let rss_full = rss_mb(world.server.as_ref().unwrap().pid());
    let ids: BTreeSet<String> = list(world, Filter::default()).await.0;
    assert_eq!(ids.len(), count + 1);

    drop(world.server.take());
    let began = Instant::now();
    world.start_server();
    let start = began.elapsed();
    let rss_started = rss_mb(world.server.as_ref().unwrap().pid());

    let (again, mut longest_page) = list(world, Filter::default()).await;
    assert!(again == ids, "a start loses no entry");
    let filters = [
        (Filter { by_hint: Some("none has it".into()), ..Default::default() }, 0),
        (Filter { by_spiffe_id: id("/bench/e7"), ..Default::default() }, 1),
        (Filter { by_spiffe_id: id("/none"), ..Default::default() }, 0),
        (Filter { by_parent_id: id("/spire/agent/join_token/node0"), ..Default::default() }, count.div_ceil(parents)),
    ];
    for (filter, wanted) in filters {
        let (found, longest) = list(world, filter).await;
        assert_eq!(found.len(), wanted);
        longest_page = longest_page.max(longest);
    }

    let mut records = vec![];
    let mut server = NodeClient::new(crate::peers::client(world, Some(&node.identity)));
    for number in 0..51 {
        let at = clock().millis();
        let input = r#"{"destination":"spiffe://example.org/bench/own"}"#;
        let id = format!("dec_{at:012x}{number:020x}");
        let record = format!(r#"{{"id":"{id}","at_ms":{at},"kind":"decision","effect":"allow","input":{input}}}"#);
        let request = RecordRequest { records: vec![record.into()], lost: 0, batch_key: format!("s:{number}") };
        let began = Instant::now();
        server.record(request).await.unwrap();
        records.push(began.elapsed());
    }
    records.sort();
    let record = records[records.len() / 2];
    Measured { created_per_second, create_micros, longest_page, record, start, rss_mb: (rss_full, rss_started) }
}

#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn many_entries_survive_a_restart_in_pages() {
    let count = std::env::var("SEKISHO_LAB_ENTRIES").ok().and_then(|count| count.parse().ok()).unwrap_or(3000);
    let mut world = World::start();
    let measured = measure(&mut world, count, count / 20).await;
    println!(
        "{count} entries: {:.0} created per second at {:.0} µs each; a page {:?}, a record {:?}, start {:?}; \
         RSS {:.0} and {:.0} MB",
        measured.created_per_second,
        measured.create_micros,
        measured.longest_page,
        measured.record,
        measured.start,
        measured.rss_mb.0,
        measured.rss_mb.1
    );
}
