//! The short run: seeds that never change. `OPA` names OPA's program; without it, only our own ways are compared.

use fuzz_rego::{Compared, Opa, check};

/// Evaluations that are compared at least.
const EVALUATIONS: u64 = 50_000;
/// Policies that are given to OPA.
const POLICIES: u64 = 200;

#[test]
fn every_way_of_evaluating_agrees() {
    let mut compared = 0;
    for seed in 0.. {
        match check(seed) {
            Ok(count) => compared += count,
            Err(difference) => panic!("{difference}"),
        }
        if compared >= EVALUATIONS {
            println!("{compared} evaluations of {} policies", seed + 1);
            break;
        }
    }
}

#[test]
fn opa_evaluates_alike() {
    let Some(program) = std::env::var_os("OPA") else {
        // Past the harness, which shows nothing of a test that passes.
        let note = b"\nskipped: opa_evaluates_alike: set OPA to OPA's program\n";
        let _unread = std::io::Write::write_all(&mut std::io::stderr(), note);
        return;
    };
    let mut opa = Opa::start(&program.to_string_lossy()).unwrap();
    let mut all = Compared::default();
    (0..POLICIES).for_each(|seed| all.join(opa.compare(seed).unwrap()));
    assert!(all.differences.is_empty(), "{}", all.differences.join("\n\n"));
    assert!(all.evaluations > 50 * POLICIES, "{} evaluations", all.evaluations);
}
