//! Seeds of the simulator: each is a fleet with faults, and the same seed is the same fleet.

use std::collections::BTreeMap;
use std::ops::Range;

use lab::sim::{simulate_all, simulate_twice};

#[test]
fn a_seed_is_one_trace() {
    simulate_twice(0..4, |_| ()).unwrap();
}

/// Runs these seeds. All that the laws are about happens in them.
fn every_law_holds(seeds: Range<u64>) {
    let mut counts = BTreeMap::<&str, u64>::new();
    simulate_all(seeds, |_, outcome| {
        outcome.counts.iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    })
    .unwrap();
    let fleet = ["attested", "issued", "renewed", "refused", "accepted", "rotated", "last deletions"];
    let policy = ["policies", "broken policies", "allow", "deny", "cut", "closed", "reports", "failed syncs"];
    for what in fleet.into_iter().chain(policy) {
        assert!(counts.get(what).is_some_and(|count| *count > 10), "{what}: {counts:?}");
    }
}

#[test]
fn every_law_holds_in_the_first_hundred_seeds() {
    every_law_holds(0..100);
}

#[test]
fn every_law_holds_in_the_second_hundred_seeds() {
    every_law_holds(100..200);
}
