//! What decisions and loading cost: `cargo test -p sekisho-policy costs -- --ignored --nocapture`.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::tests::{load, now, request};
use crate::{Decision, PolicySet, RequestInput};

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

/// The median of batches.
#[expect(clippy::disallowed_methods, reason = "the time is what is measured")]
fn each(mut call: impl FnMut()) -> Duration {
    let began = Instant::now();
    let mut calls = 0u32;
    while began.elapsed() < Duration::from_millis(20) {
        call();
        calls += 1;
    }
    let batch = (calls / 20).max(1);
    let mut times: Vec<Duration> = (0..60)
        .map(|_| {
            let began = Instant::now();
            (0..batch).for_each(|_| call());
            began.elapsed() / batch
        })
        .collect();
    times.sort();
    times[30]
}

#[test]
#[ignore = "it measures, and does not test"]
#[expect(clippy::disallowed_methods, reason = "the time is what is measured")]
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
    for (name, set, request) in &cases {
        let timed = |decide: fn(&PolicySet, &RequestInput) -> Decision| each(|| drop(black_box(decide(set, request))));
        let fast = timed(|set, request| set.decide(request, now()));
        let engine = timed(|set, request| set.decide_by_engine(request, now()));
        println!("{name}: {fast:?}; by the engine alone {engine:?}");
    }
    for count in [1_000, 10_000] {
        let text = rules(count);
        let began = Instant::now();
        black_box(load(&text).unwrap());
        println!("load {count} rules: {:?}", began.elapsed());
    }
}
