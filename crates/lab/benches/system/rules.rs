//! Limits of the machine, decisions, the ledger.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_disk::{Ledger, NewEntry};
use sekisho_events::{Decided, DecisionId, NodeEvent};
use sekisho_identity::{Csr, csr_der};
use sekisho_keys::MemoryKey;
use sekisho_ledger::{leaf_hash, verify_inclusion};
use sekisho_policy::{PolicySet, Recorded, RequestInput, Source};
use sekisho_types::{SignatureAlgorithm, Signer, UnixTime};

use crate::measure::{Table, cpu_micros, each, processor_each};
use crate::peers::key;

/// Returns the microseconds of one verification and one signature with every core busy: the lower bound of an SVID.
pub fn limits(table: &mut Table) -> f64 {
    let key = key();
    let message = [7u8; 400];
    let (sign, _) = each(|| drop(std::hint::black_box(key.sign(&message))));
    let request = csr_der(&key, None).unwrap();
    let (verify, _) = each(|| drop(std::hint::black_box(Csr::verify(&request))));
    table.add(
        "P-256: sign; read and verify a CSR",
        format!("{sign:.0}; {verify:.0} µs"),
        "aws-lc, nothing else running",
    );
    // Two virtual processors may be one core: what a server that keeps both busy can reach at best. As the server's own
    // cost, it is time of a processor, so that other programs change the ratio of the two less.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let both = || {
        let key = crate::peers::key();
        processor_each(|| {
            std::hint::black_box(key.sign(&message).unwrap());
            std::hint::black_box(Csr::verify(&request).unwrap());
        })
    };
    let busy: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(both)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let bound = busy.iter().sum::<f64>() / busy.len() as f64;
    table.add("both, on every core at once", format!("{bound:.0} µs"), "the lower bound of an issuance under load");
    let mut file = tempfile::tempfile().unwrap();
    let (fsync, _) = each(|| {
        file.write_all(&[1; 300]).unwrap();
        file.sync_data().unwrap();
    });
    table.add("append 300 bytes and fdatasync", format!("{fsync:.0} µs"), "the disk");
    bound
}

const SAMPLE: &str = r#"package workload.authz
import rego.v1
default allow := false
workload_id := input.subject.spiffe_id
allow if {
  input.method == "POST"
  input.path == ["v1", "transactions"]
  workload_id == "spiffe://prod.internal/ns/finance/sa/payment-gateway"
  input.subject.claims.hw_attested == true
  input.subject.issued_at > (time.now_ns() - (15 * 60 * 1000000000))
}
"#;

pub fn decisions(table: &mut Table) {
    let now = UnixTime::from_seconds(1_800_000_000);
    let document = serde_json::json!({
        "method": "POST", "path": ["v1", "transactions"], "query": "",
        "headers": {"host": "transactions", "user-agent": "bench", "content-type": "application/json"},
        "subject": {
            "spiffe_id": "spiffe://prod.internal/ns/finance/sa/payment-gateway",
            "claims": {"hw_attested": true, "evidence": "process"}, "issued_at": now.plus_seconds(-60).nanos(),
        },
        "destination": "spiffe://prod.internal/ns/finance/sa/transactions", "request_id": "r",
    });
    let request = RequestInput::from_json(&document).unwrap();
    let load = |text: String| PolicySet::load(vec![Source { name: "authz.rego".into(), text }]).unwrap();
    let sample = load(SAMPLE.to_owned());
    let line = |(micros, allocations): (f64, f64)| format!("{micros:.1} µs, {allocations:.0} allocations");
    assert!(sample.decide(&request, now).effect.is_allow());
    table.add(
        "decision, sample policy",
        line(each(|| drop(sample.decide(&request, now)))),
        "OPA: 107 µs of CPU per call",
    );
    table.add("the same by the engine", line(each(|| drop(sample.decide_by_engine(&request, now)))), "–");
    let body = SAMPLE.split_once("allow if").unwrap();
    let many: String = (0..999)
        .map(|n| format!("allow if{}", body.1.replace("payment-gateway", &format!("other-{n}"))))
        .chain([format!("allow if{}", body.1)])
        .collect();
    let text = format!("{}{many}", body.0);
    let one = |condition: &str| load(format!("{text}allow if {{\n  {condition}\n}}\n"));
    let (prefix, engine) = (one("startswith(input.path[0], \"w\")"), one("some step in input.path\n  step == \"w\""));
    let many = load(text.clone());
    table.add(
        "decision, 1,000 rules of that form",
        line(each(|| drop(many.decide(&request, now)))),
        "OPA: 101 µs, indexed",
    );
    table.add("and one more with `startswith`", line(each(|| drop(prefix.decide(&request, now)))), "–");
    table.add("and one more that only the engine decides", line(each(|| drop(engine.decide(&request, now)))), "–");
    table.add("the same, all rules by the engine", line(each(|| drop(engine.decide_by_engine(&request, now)))), "–");
    let decided = Decided {
        id: DecisionId::new([1; 16]),
        trace_id: [1; 16],
        span_id: [2; 8],
        recorded: Recorded::of(&Arc::new(request.clone()), now, sample.decide(&request, now), 3, Some(&sample)),
        latency_micros: 2,
    };
    let record = NodeEvent::Decided(Box::new(decided)).encode();
    let (micros, _) = each(|| {
        let Ok(NodeEvent::Decided(decided)) = NodeEvent::decode(&record) else { panic!("the record is not read") };
        drop(std::hint::black_box(sample.replay(&decided.recorded, None)));
    });
    table.add(
        "policy replay, with reading the record",
        format!("{:.0} per second and core", 1e6 / micros),
        "goal 80,000",
    );
}

pub async fn ledger(table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let key: Arc<dyn Signer> = Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
    let (ledger, _) = Ledger::open(folder.path(), "bench", key).unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    let (began, before) = (Instant::now(), cpu_micros(std::process::id().cast_signed()));
    let tasks = (0..16u8).map(|task| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let mut count = 0u64;
            while Instant::now() < until {
                let entries = vec![NewEntry { leaf: vec![task; 300], side: vec![] }; 256];
                ledger.append(entries).await.unwrap();
                count += 256;
            }
            count
        })
    });
    let mut count = 0;
    for task in tasks.collect::<Vec<_>>() {
        count += task.await.unwrap();
    }
    let (rate, spent) =
        (count as f64 / began.elapsed().as_secs_f64(), cpu_micros(std::process::id().cast_signed()) - before);
    let each_core = count as f64 / (spent / 1e6);
    table.add(
        "ledger, durable entries of 300 bytes",
        format!("{rate:.0} per second; {each_core:.0} per second of CPU"),
        "goal 100,000 on one core",
    );
    let (size, _) = ledger.checkpoint_covering(count - 1).await.unwrap();
    let (root, path) = (ledger.root(size).unwrap(), ledger.path(size / 3, size).unwrap());
    let leaf = leaf_hash(&ledger.entry(size / 3, size).unwrap().leaf);
    let (micros, _) = each(|| verify_inclusion(size / 3, size, &leaf, &path, &root).unwrap());
    table.add(
        format!("inclusion proof in a log of {size}: verify"),
        format!("{micros:.1} µs"),
        format!("{} hashes", path.len()),
    );
}
