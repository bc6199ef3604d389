//! What decisions and loading cost: `cargo test -p sekisho-policy costs -- --ignored --nocapture`.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::tests::{load, now, request};
use crate::{PolicySet, RequestInput};

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

fn rules(count: usize) -> String {
    let head = "package workload.authz\nimport rego.v1\ndefault allow := false\n".to_owned();
    (0..count).fold(head, |mut out, n| {
        writeln!(out, "allow if {{\n\tinput.method == \"GET\"\n\tinput.path[1] == \"p{n}\"\n}}").unwrap();
        out
    })
}

/// Rules of five conditions.
fn wide_rules(count: usize) -> String {
    let head = "package workload.authz\n\ndefault allow := false\n\n".to_owned();
    (0..count).fold(head, |mut out, n| {
        writeln!(
            out,
            "allow if {{\n\tinput.method == \"GET\"\n\tstartswith(input.query, \"order={n}&\")\n\t\
             input.subject.spiffe_id == \"spiffe://td/service-{n}\"\n\tinput.subject.claims.hw_attested == true\n\t\
             time.now_ns() - input.subject.issued_at < 3600000000000\n}}\n"
        )
        .unwrap();
        out
    })
}

/// The median and the 99th percentile of batches.
#[expect(clippy::disallowed_methods, reason = "the time is what is measured")]
fn each(mut call: impl FnMut()) -> (Duration, Duration) {
    let began = Instant::now();
    let mut calls = 0u32;
    while began.elapsed() < Duration::from_millis(20) {
        call();
        calls += 1;
    }
    let batch = (calls / 50).max(1);
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            (0..batch).for_each(|_| call());
            began.elapsed() / batch
        })
        .collect();
    times.sort();
    (times[100], times[197])
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "it measures, and does not test"]
fn costs() {
    let general = "allow if {\n\tsome step in input.path\n\tstep == \"p0\"\n\tinput.method == \"PUT\"\n}\n";
    let mut reading = request(true);
    reading.method = "GET".into();
    reading.path = vec!["v1".into(), "p999".into()];
    let cases: [(&str, PolicySet, &RequestInput); 4] = [
        ("sample", load(SAMPLE).unwrap(), &request(true)),
        ("1,000 rules", load(&rules(1_000)).unwrap(), &reading),
        ("1,000 rules and a general one", load(&(rules(1_000) + general)).unwrap(), &reading),
        (
            "a general rule",
            load(
                "package workload.authz\nimport rego.v1\nknown := {\"a\", \"b\", \"v1\"}\n\
                 ok(step) if step in known\nallow if {\n\tcount([s | some s in input.path; ok(s)]) == 1\n\t\
                 every s in input.path { s != \"x\" }\n}\n",
            )
            .unwrap(),
            &reading,
        ),
    ];
    println!("median, 99th percentile");
    for (name, set, request) in &cases {
        let (judged, _) = each(|| drop(black_box(set.judge(request, now()))));
        let (decided, _) = each(|| drop(black_box(set.decide(request, now()))));
        let (engine, _) = each(|| drop(black_box(set.decide_by_engine(request, now()))));
        println!("{name}: {judged:?}; with its explanation in words {decided:?}; by the engine alone {engine:?}");
    }
}

/// The time and the memory that sets of 1 to 100,000 rules take.
#[test]
#[ignore = "it measures, and does not test"]
#[expect(clippy::disallowed_methods, reason = "the time is what is measured")]
fn costs_by_size() {
    for count in [1, 1_000, 10_000, 100_000] {
        let source = crate::Source { name: "authz.rego".into(), text: wide_rules(count) };
        let before = resident();
        let began = Instant::now();
        let set = PolicySet::danger_load_any(vec![source]).unwrap();
        let took = began.elapsed();
        let memory = resident().saturating_sub(before) / count as u64;
        println!("{count} rules: loaded in {took:?}, {memory} bytes a rule");
        for (name, number) in [("first", 0), ("last", count - 1), ("none", count + 7)] {
            let mut request = request(true);
            request.method = "GET".into();
            request.query = format!("order={number}&page=1");
            let id = format!("spiffe://td/service-{number}");
            std::sync::Arc::make_mut(&mut request.subject).spiffe_id = sekisho_types::SpiffeId::parse(&id).unwrap();
            assert_eq!(set.judge(&request, now()).effect.is_allow(), number < count);
            let (median, high) = each(|| drop(black_box(set.judge(&request, now()))));
            println!("  {name}: {median:?}, {high:?}; {:?} for two threads at once", on_two_threads(&set, &request));
        }
    }
}

/// The time of a decision on each of two threads.
#[expect(clippy::disallowed_methods, reason = "the time is what is measured")]
fn on_two_threads(set: &PolicySet, request: &RequestInput) -> Duration {
    let calls = 200_000;
    let run = || {
        let began = Instant::now();
        (0..calls).for_each(|_| drop(black_box(set.judge(request, now()))));
        began.elapsed() / calls
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}
