//! The deterministic simulator: a real server and real agents, with sidecars, an operator and hostile nodes, in one
//! process and on one thread. Time, network, randomness and what a crash leaves on disk follow from the seed, so a seed
//! that breaks a law breaks it again.

mod audit;
mod client;
mod decisions;
mod faults;
mod fleet;
mod here;
mod host;
mod laws;
mod lives;
mod model;
mod node;
mod operator;
mod operator_policy;
mod policies;
mod policy_laws;
mod records;
mod request;
mod sidecar;
mod world;

use std::ops::Range;

pub use fleet::options;
pub use world::{Outcome, simulate};

/// Simulates these seeds. The first that breaks a law is returned with its trace.
pub fn simulate_all(seeds: Range<u64>, mut each: impl FnMut(u64, &Outcome)) -> Result<(), String> {
    for seed in seeds {
        let outcome = simulate(seed);
        each(seed, &outcome);
        if let Some(broken) = &outcome.broken {
            let trace = outcome.trace.join("\n");
            return Err(format!(
                "{trace}\nseed {seed}: {broken}\nagain by: cargo xtask simulate --seeds {seed}..{}",
                seed + 1
            ));
        }
    }
    Ok(())
}

/// Simulates each of these seeds twice. The first whose traces differ is returned, with the first events that do.
pub fn simulate_twice(seeds: Range<u64>, mut each: impl FnMut(u64)) -> Result<(), String> {
    for seed in seeds {
        let (one, other) = (simulate(seed), simulate(seed));
        if let Some(broken) = one.broken.as_ref().or(other.broken.as_ref()) {
            return Err(format!("seed {seed}: {broken}"));
        }
        let (one, other) = (one.events(), other.events());
        if let Some(at) = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at)) {
            let around = |events: &[&str]| {
                let near: Vec<&str> = events.iter().take(at + 3).skip(at.saturating_sub(5)).copied().collect();
                near.join("\n")
            };
            let (one, other) = (around(&one), around(&other));
            return Err(format!("seed {seed} is two traces, from event {at} on\nfirst:\n{one}\nsecond:\n{other}"));
        }
        each(seed);
    }
    Ok(())
}
