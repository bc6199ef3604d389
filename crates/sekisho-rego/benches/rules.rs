//! The time of one decision at 1, 1,000 and 10,000 rules: the first, the last and no rule matches; the time to compile
//! them; and a general policy over 1,000 objects.
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for a person")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sekisho_rego::builtins::Context;
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Document, Limits};

const NOW: i64 = 1_795_651_200_000_000_000;

fn rules(count: usize) -> String {
    let mut text = String::from("package bench\n\ndefault allow := false\n");
    for number in 0..count {
        let _infallible = write!(
            text,
            "\nallow if {{\n\tinput.method == \"GET\"\n\tstartswith(input.path, \"/orders/{number}\")\n\t\
             input.subject.spiffe_id == \"spiffe://example.org/service-{number}\"\n\t\
             input.subject.claims.hw_attested == true\n\ttime.now_ns() - input.subject.issued_at < 3600000000000\n}}\n",
        );
    }
    text
}

fn input(number: usize) -> String {
    let issued_at = NOW - 60_000_000_000;
    format!(
        r#"{{"method":"GET","path":"/orders/{number}/items","headers":{{"accept":"*/*","host":"orders","x-id":"17"}},
        "subject":{{"spiffe_id":"spiffe://example.org/service-{number}","issued_at":{issued_at},
        "claims":{{"hw_attested":true,"region":"eu"}}}}}}"#
    )
}

/// The median and the 99th percentile of batches, in nanoseconds per call.
fn measure(mut call: impl FnMut()) -> (f64, f64) {
    let started = Instant::now();
    let mut calls = 0_u32;
    while started.elapsed() < Duration::from_millis(50) {
        call();
        calls += 1;
    }
    let batch = (calls / 50).max(1);
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let started = Instant::now();
            (0..batch).for_each(|_| call());
            started.elapsed().as_nanos() as f64 / f64::from(batch)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times.get(100).copied().unwrap_or_default(), times.get(197).copied().unwrap_or_default())
}

fn decision(document: &Document, input: &Value, context: &mut Context, limits: &Limits) -> Option<Value> {
    context.set_work(1_000_000);
    document.eval_in(&Value::Null, Some(input), context, limits, None).unwrap()
}

fn main() {
    println!("{:<28} {:>12} {:>12}", "case", "median ns", "p99 ns");
    let limits = Limits::default();
    for count in [1_usize, 1_000, 10_000] {
        let text = rules(count);
        let started = Instant::now();
        let policy = Compiler::new().module("bench.rego", &text).unwrap().compile().unwrap();
        println!("{:<28} {:>12}", format!("compile {count} rules, µs"), started.elapsed().as_micros());
        let document = policy.document(&["bench", "allow"]).unwrap();
        for (name, number) in [("first", 0), ("last", count - 1), ("none", count + 7)] {
            let input = Value::from_json(&input(number)).unwrap();
            let mut context = Context::new(NOW);
            let allowed = decision(&document, &input, &mut context, &limits);
            assert_eq!(allowed, Some(Value::Bool(number < count)), "{count} {name}");
            let (median, p99) = measure(|| {
                black_box(decision(&document, black_box(&input), &mut context, &limits));
            });
            println!("{:<28} {median:>12.0} {p99:>12.0}", format!("{count} rules, {name}"));
        }
    }
    general(&limits);
    let text = input(17);
    let (median, p99) = measure(|| {
        black_box(Value::from_json(black_box(&text)).unwrap());
    });
    println!("{:<28} {median:>12.0} {p99:>12.0}", "input from JSON");
}

/// Comprehensions and lookups over 1,000 objects of data.
fn general(limits: &Limits) {
    let text = "package general\n\nallowed contains name if {\n\tsome user in data.users\n\tuser.active\n\
                \tsome role in user.roles\n\trole == input.role\n\tname := user.name\n}\n\n\
                by_role := {role: names |\n\tsome role in {\"a\", \"b\", \"c\"}\n\
                \tnames := [user.name | some user in data.users; role in user.roles]\n}\n\n\
                total := count(allowed) + count(by_role[input.role])\n";
    let users: Vec<String> = (0..1_000)
        .map(|at| {
            let role = ["a", "b", "c"].get(at % 3).copied().unwrap_or_default();
            format!(r#"{{"name":"user-{at}","active":{},"roles":["{role}","x"]}}"#, at % 2 == 0)
        })
        .collect();
    let data = Value::from_json(&format!(r#"{{"users":[{}]}}"#, users.join(","))).unwrap();
    let input = Value::from_json(r#"{"role":"b"}"#).unwrap();
    let policy = Compiler::new().module("general.rego", text).unwrap().compile().unwrap();
    let document = policy.document(&["general", "total"]).unwrap();
    let mut context = Context::new(NOW);
    let (median, p99) = measure(|| {
        context.set_work(10_000_000);
        black_box(document.eval_in(&data, Some(&input), &mut context, limits, None).unwrap());
    });
    println!("{:<28} {median:>12.0} {p99:>12.0}", "1,000 objects");
}
