//! Seeds of the simulator: each is a fleet with faults, and the same seed is the same fleet.

use std::collections::BTreeMap;
use std::ops::Range;

use lab::sim::{simulate, simulate_all};

#[test]
fn a_seed_is_one_trace() {
    for seed in [1, 77] {
        let (one, other) = (simulate(seed), simulate(seed));
        assert_eq!(one.broken, None, "{}", one.trace.join("\n"));
        let first = one.trace.iter().zip(&other.trace).find(|(a, b)| a != b);
        assert_eq!((first, one.digest()), (None, other.digest()));
    }
}

/// Runs these seeds. All that the laws are about happens in them.
fn every_law_holds(seeds: Range<u64>) {
    let mut counts = BTreeMap::<&str, u64>::new();
    simulate_all(seeds, |_, outcome| {
        outcome.counts.iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    })
    .unwrap();
    for what in ["attested", "issued", "renewed", "refused", "accepted", "rotated", "last deletions"] {
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
