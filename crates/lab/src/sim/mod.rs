//! The deterministic simulator: a real server, real agents, operators and nodes made by hand, in one process and on one thread. Time, network,
//! randomness and what a crash leaves on disk follow from the seed, so a seed that breaks a law breaks it again.

mod audit;
mod client;
mod faults;
mod fleet;
mod here;
mod host;
mod laws;
mod lives;
mod model;
mod node;
mod operator;
mod sidecar;
mod world;

use std::ops::Range;

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
