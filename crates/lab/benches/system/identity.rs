//! The server's issuing RPC, the agent's Workload API, entries in numbers.

use std::time::{Duration, Instant};

use sekisho_identity::csr_der;
use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient};
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use sekisho_proto::types;
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tonic::transport::Channel;

use crate::many_entries::{create, measure};
use crate::measure::{Table, cpu_micros, percentile, rss_mb};
use crate::peers::{Attested, client, key};
use crate::world::{Role, World};

/// Agents that ask at the same time, each on a connection.
pub const AGENTS: usize = 4;

pub async fn issue(table: &mut Table, bound: f64) {
    let world = World::start();
    let server = world.server.as_ref().unwrap().pid();
    let csr = csr_der(&key(), None).unwrap();
    for (callers, batch, spire) in [(1, 1, 1358), (16, 1, 842), (256, 1, 690), (8, 50, 388)] {
        // What an agent may put into the log is bounded: each measurement has agents of its own.
        let mut agents = vec![];
        for _ in 0..AGENTS {
            let peer = Attested::new(&world).await;
            agents.push((peer.entry(&world, "/bench").await, client(&world, Some(&peer.identity))));
        }
        let (began, before) = (Instant::now(), cpu_micros(server));
        let asked = (0..callers).map(|caller| {
            let (entry_id, channel) = agents[caller % AGENTS].clone();
            (SvidClient::new(channel), NewX509svidParams { entry_id, csr: csr.clone() })
        });
        let mut times = calls(asked, batch, Duration::from_secs(5)).await;
        let count = times.len() * batch;
        let (rate, each) = (count as f64 / began.elapsed().as_secs_f64(), (cpu_micros(server) - before) / count as f64);
        table.add(
            format!("X.509-SVID with its durable leaf, {callers} callers, {batch} a call"),
            format!("{rate:.0} per second, {each:.0} µs of server CPU, p50 {:.1} ms", percentile(&mut times, 0.5)),
            format!("{:.2} × the lower bound of {bound:.0} µs; SPIRE: {spire} µs, nothing recorded", each / bound),
        );
    }
    table.add("server RSS after that", format!("{:.0} MB", rss_mb(server)), "SPIRE: 193 MB");
}

/// Each caller asks for `batch` SVIDs at a time, again and again. How long each call took.
pub async fn calls(
    callers: impl Iterator<Item = (SvidClient<Channel>, NewX509svidParams)>,
    batch: usize,
    time: Duration,
) -> Vec<Duration> {
    let until = Instant::now() + time;
    let calls: Vec<_> = callers
        .map(|(mut svid, params)| {
            let params = vec![params; batch];
            tokio::spawn(async move {
                let mut times = vec![];
                while Instant::now() < until {
                    let asked = Instant::now();
                    let request = BatchNewX509svidRequest { params: params.clone() };
                    let answer = svid.batch_new_x509svid(request).await.unwrap().into_inner();
                    assert!(answer.results.iter().all(|result| result.svid.is_some()));
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = vec![];
    for call in calls {
        times.extend(call.await.unwrap());
    }
    times
}

pub async fn workload(table: &mut Table) {
    let world = World::start();
    world.register("/bench/own", &World::own_selectors());
    let agent = world.agent.as_ref().unwrap().pid();
    let fetch = async || {
        let mut client = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
        let mut stream = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        stream
    };
    drop(fetch().await);
    let mut times = vec![];
    for _ in 0..300 {
        let began = Instant::now();
        drop(fetch().await);
        times.push(began.elapsed());
    }
    let line = format!("p50 {:.2} ms, p99 {:.2} ms", percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    table.add("Workload API, first SVID on a new connection", line, "SPIRE: p50 17 ms; goal below 1 ms");
    let before = rss_mb(agent);
    let mut open = vec![];
    for _ in 0..1000 {
        open.push(fetch().await);
    }
    let opened = rss_mb(agent);
    // A program that has been idle for 16 s gives memory back.
    tokio::time::sleep(Duration::from_secs(30)).await;
    table.add(
        "agent RSS with 1,000 streams on 1,000 connections; after 30 s",
        format!("{before:.0} → {opened:.0}; {:.0} MB", rss_mb(agent)),
        "SPIRE: 121 MB; goal 40 MB",
    );
}

/// Processes that wait for their SVIDs, connections of each, and streams of each connection.
const IDLE: (usize, usize, usize) = (40, 50, 5);

/// Streams that wait, of many processes: what they cost while nothing happens.
pub fn idle(table: &mut Table) {
    let world = World::start();
    world.register("/bench/own", &World::own_selectors());
    let agent = world.agent.as_ref().unwrap().pid();
    let before = rss_mb(agent);
    let (processes, connections, streams) = IDLE;
    let own = std::env::current_exe().unwrap();
    let mut holders = vec![];
    for _ in 0..processes {
        let mut holder = std::process::Command::new(&own);
        holder.arg("hold").arg(world.agent_socket());
        let holder = Role::start(&mut holder);
        holder.ready();
        holders.push(holder);
    }
    let (rss, cpu) = (rss_mb(agent), cpu_micros(agent));
    std::thread::sleep(Duration::from_secs(10));
    table.add(
        format!(
            "{} idle streams of {processes} processes on {} connections",
            processes * connections * streams,
            processes * connections
        ),
        format!("agent RSS {before:.0} → {rss:.0} MB, {:.2} % of a core", (cpu_micros(agent) - cpu) / 100_000.0),
        "–",
    );
}

/// What such a process does.
pub async fn hold(socket: &str) {
    let mut held = vec![];
    for _ in 0..IDLE.1 {
        let channel = sekisho_sdk::agent_channel(std::path::Path::new(socket));
        for _ in 0..IDLE.2 {
            let mut client = SpiffeWorkloadApiClient::new(channel.clone());
            let mut stream = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
            stream.message().await.unwrap().unwrap();
            held.push(stream);
        }
    }
    println!("ready to wait");
    std::future::pending::<()>().await;
}

pub async fn entries(table: &mut Table) {
    let mut world = World::start();
    let mut registry = EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    let id = |path: String| Some(types::Spiffeid { trust_domain: "example.org".into(), path });
    let (rate, each) = create(&world, 100_000, 100).await;
    table.add(
        "create 100,000 entries, 500 a call, each with a leaf",
        format!("{rate:.0} per second, {each:.0} µs of server CPU each"),
        "SPIRE: 66; goal 20,000",
    );

    // From the registration of an entry to the SVID on a stream that waits for it.
    let own = World::own_selectors();
    let mut times = vec![];
    world.register("/bench/first", &own);
    let mut client = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let mut stream = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let agent = world.agent_id.strip_prefix("spiffe://example.org").unwrap().to_owned();
    for n in 0..50 {
        let path = format!("/bench/seen{n}");
        let (kind, value) = own[0].split_once(':').unwrap();
        let entry = types::Entry {
            spiffe_id: id(path.clone()),
            parent_id: id(agent.clone()),
            selectors: vec![types::Selector { r#type: kind.into(), value: value.into() }],
            ..Default::default()
        };
        let began = Instant::now();
        registry.batch_create_entry(BatchCreateEntryRequest { entries: vec![entry], output_mask: None }).await.unwrap();
        while !stream.message().await.unwrap().unwrap().svids.iter().any(|svid| svid.spiffe_id.ends_with(&path)) {}
        times.push(began.elapsed());
    }
    let line = format!("p50 {:.0} ms, p99 {:.0} ms", percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    table.add("entry created → its SVID on a waiting stream", line, "SPIRE: 4–10 s; goal 250 ms");

    drop(world.server.take());
    let began = Instant::now();
    world.start_server();
    let start = began.elapsed().as_secs_f64();
    let rss = rss_mb(world.server.as_ref().unwrap().pid());
    table.add(
        "start with 100,000 entries",
        format!("{start:.2} s, RSS {rss:.0} MB"),
        "SPIRE with 46,000: 1.2 s, 206 MB; goal 1 s, 150 MB",
    );
}

/// The same at ten times as many, and what a server does with them.
pub async fn million(table: &mut Table) {
    const COUNT: usize = 1_000_000;
    let mut world = World::start();
    let measured = measure(&mut world, COUNT, COUNT / 20).await;
    let (rate, each) = (measured.created_per_second, measured.create_micros);
    let created =
        format!("{rate:.0} per second, {each:.0} µs of server CPU each, RSS {:.0} MB then", measured.rss_mb.0);
    table.add("create 1,000,000 entries of 50,000 nodes, 500 a call, each with a leaf", created, "goal 20,000");
    let start = format!("{:.2} s, RSS {:.0} MB", measured.start.as_secs_f64(), measured.rss_mb.1);
    table.add("start with them", start, "goal 3 s, 700 MB");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let longest = format!("{:.1} ms; {:.1} ms", millis(measured.longest_page), millis(measured.record));
    table.add(
        "slowest page of 1,000 in a list, whatever is asked; p50 of a node's record",
        longest,
        "goal 20 ms; 1 ms",
    );
}
