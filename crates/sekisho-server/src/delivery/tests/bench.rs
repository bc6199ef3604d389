//! 50,000 streams in memory. `SEKISHO_STREAMS` and `SEKISHO_STREAM_ENTRIES` set other numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_ports::instant;
use sekisho_store::{Change, Delta, Past, PolicyRecord, Snapshot};
use sekisho_types::Digest;

use super::*;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn delta(revision: u64, change: Change) -> Delta {
    Delta { trust_domain: domain(), revision: Some(Revision(revision)), changes: vec![change], leaves: 0 }
}

fn agent(number: usize) -> String {
    format!("/spire/agent/x509pop/{number:08}")
}

#[test]
#[ignore = "a measurement: run it by its name, on an idle machine"]
fn streams_in_numbers() {
    let (streams, each) = (setting("SEKISHO_STREAMS", 50_000), setting("SEKISHO_STREAM_ENTRIES", 20));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let began_with = rss_mb();
        let view = Arc::new(View::new(Bundle::empty(domain())));
        let name = |number: usize| format!("ent_{number:012}");
        let entries = (0..streams * each)
            .map(|number| Arc::new(entry(&name(number), &agent(number / each), &format!("/svc/{}", number % 1000))));
        let nodes = (0..streams).map(|number| Arc::new(node(&agent(number), &[])));
        let snapshot = Snapshot { entries: entries.collect(), nodes: nodes.collect(), ..Snapshot::default() };
        view.fill(snapshot, Past::default());
        let filled = rss_mb();
        let delivery = Arc::new(Delivery::new(view.clone(), id("/spire/server")));
        let (messages, began) = (Arc::new(AtomicU64::new(0)), instant());
        let (hears, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..streams {
            let (send, first) = oneshot::channel();
            send.send(None).unwrap();
            let shown = Shown { agent: id(&agent(number)), serial: "1".into(), ends: now().plus_seconds(1_000_000) };
            let (mut feed, messages, hears) = (delivery.open(shown, first), messages.clone(), hears.clone());
            tokio::spawn(async move {
                while let Some(Ok(message)) = feed.next().await {
                    messages.fetch_add(1, Ordering::Relaxed);
                    if !message.complete && message.policy.is_none() {
                        let _gone = hears.send(instant());
                    }
                }
            });
        }
        let come_to = async |count: u64| {
            while messages.load(Ordering::Relaxed) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        come_to(streams as u64).await;
        println!(
            "{streams} streams x {each} entries: all have everything after {:?}; RSS {began_with} -> {filled} (state) \
                -> {} MB",
            began.elapsed(),
            rss_mb()
        );

        let (count, mut longest) = (20_000, Duration::ZERO);
        let (began, before) = (instant(), cpu());
        for number in 0..count {
            let change = Change::Entry(Arc::new(entry(&format!("x{number}"), "/spire/agent/none", "/svc/x")));
            let one = instant();
            delivery.committed(&delta(number + 1, change));
            longest = longest.max(one.elapsed());
        }
        let (spent, used) = (began.elapsed() / count as u32, (cpu() - before) / count as u32);
        println!("a commit that concerns none: {spent:?}, {used:?} of CPU of the process; longest {longest:?}");
        assert_eq!(messages.load(Ordering::Relaxed), streams as u64, "no stream was woken");

        let mut times = vec![];
        for number in 0..500usize {
            let to = agent(number * 7919 % streams);
            let change = Change::Entry(Arc::new(entry(&format!("y{number}"), &to, "/svc/y")));
            let sent = instant();
            delivery.committed(&delta(count + number as u64 + 1, change));
            times.push(heard.recv().await.unwrap().duration_since(sent));
        }
        times.sort();
        println!(
            "one that concerns one reaches it in p50 {:?}, p99 {:?}, at most \
            {:?}",
            times[250], times[495], times[499]
        );

        let files = vec![("p.rego".to_owned(), "package workload.authz\n".repeat(100))];
        let (digest, revision) = (Digest::new([1; 32]), 1_000_000);
        let policy = PolicyRecord { revision, digest, at: now(), files };
        let already = messages.load(Ordering::Relaxed);
        let (sent, before) = (instant(), cpu());
        delivery.committed(&delta(revision, Change::Policy(Arc::new(policy))));
        let committed = sent.elapsed();
        come_to(already + streams as u64).await;
        println!(
            "a policy: {committed:?} for the commit; all have it after {:?}, {:?} of \
            CPU",
            sent.elapsed(),
            cpu() - before
        );
    });
}
