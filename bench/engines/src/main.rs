//! Decisions of our engine beside those of OPA, regorus and Cedar, with the same policies, in one run.
//!
//! `OPA=/path/to/opa cargo run --release [MOST]`: sets of 1 to MOST rules (100,000 unless another number is given),
//! a general policy, and two threads. Each engine has to give the expected answer before it is measured.

mod cedar;
mod opa;
mod ours;
mod regorus_engine;
mod rules;
mod timing;

use rules::{General, Question, SIZES};
use timing::{Times, cpu_of_process, show, times};

/// An engine with a policy.
pub trait Engine {
    /// Whether the policy allows a request.
    fn allows(&self, question: &Question) -> bool;
}

fn main() {
    let most: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let opa = std::env::var("OPA").ok();
    for count in SIZES.into_iter().filter(|count| *count <= most) {
        println!("\n## {count} rules of five conditions");
        measure("sekisho-policy", || ours::Decisions::load(count), count);
        measure("sekisho-rego, the engine alone", || ours::Engine::load(count), count);
        measure("regorus", || regorus_engine::Compiled::load(count), count);
        measure("Cedar", || cedar::Policies::load(count), count);
        if let Some(opa) = &opa {
            measure_opa(opa, count);
        }
    }
    general(opa.as_deref());
}

fn measure<E: Engine + Sync>(name: &str, load: impl FnOnce() -> Result<E, String>, count: usize) {
    let began = cpu_of_process();
    let engine = match load() {
        Ok(engine) => engine,
        Err(reason) => return println!("{name}: refused: {reason}"),
    };
    println!("{name}: loaded in {:?} of processor time", cpu_of_process() - began);
    for (which, number) in [("first", 0), ("last", count - 1), ("none", count + 7)] {
        let question = Question::new(number);
        assert_eq!(engine.allows(&question), number < count, "{name}: {which}");
        println!("  {which}: {}", show(&times(|| engine.allows(&question))));
    }
    let question = Question::new(count - 1);
    let one = timing::rate(1, || engine.allows(&question));
    let two = timing::rate(2, || engine.allows(&question));
    println!("  threads: {one:.0} decisions a second on one, {two:.0} on two: {:.2} of twice", two / one / 2.0);
}

fn measure_opa(program: &str, count: usize) {
    let server = match opa::Server::start(program, &[("authz.rego", &rules::rego(count))]) {
        Ok(server) => server,
        Err(reason) => return println!("OPA: {reason}"),
    };
    println!("OPA's server: ready after {:?} of processor time", server.cpu());
    for (which, number) in [("first", 0), ("last", count - 1), ("none", count + 7)] {
        let input = Question::new(number).json();
        assert_eq!(server.ask("workload/authz/allow", &input), Ok(serde_json::json!(number < count)), "OPA: {which}");
        println!("  {which}: {}", server.cost("workload/authz/allow", &input));
    }
}

fn general(opa: Option<&str>) {
    println!("\n## A general policy: comprehensions and `walk` over 1,000 objects");
    let general = General::new();
    let report = |name: &str, found: Result<(serde_json::Value, Times), String>| match found {
        Ok((value, times)) => {
            assert_eq!(value, general.expected(), "{name}");
            println!("{name}: {}", show(&times));
        }
        Err(reason) => println!("{name}: {reason}"),
    };
    report("sekisho-rego", ours::general(&general));
    report("regorus", regorus_engine::general(&general));
    let Some(opa) = opa else { return };
    match opa::Server::start(opa, &[("general.rego", rules::GENERAL), ("data.json", &general.data.to_string())]) {
        Ok(server) => {
            assert_eq!(server.ask("general/report", &general.input), Ok(general.expected()), "OPA");
            println!("OPA's server: {}", server.cost("general/report", &general.input));
        }
        Err(reason) => println!("OPA: {reason}"),
    }
}
