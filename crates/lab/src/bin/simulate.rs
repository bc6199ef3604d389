//! Runs seeds of the simulator: `simulate --seeds A..B`, or `simulate --seeds A` for one with its trace. With `--twice`
//! each seed runs twice, and the two traces must be equal.

#![expect(clippy::disallowed_methods, reason = "it reports how long it took")]

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use lab::sim::{simulate, simulate_all, simulate_twice};

#[derive(Parser)]
struct Args {
    /// `A..B`, or one seed, whose trace is printed
    #[arg(long, default_value = "0..1000")]
    seeds: String,
    /// Run each seed twice and compare the traces
    #[arg(long)]
    twice: bool,
}

impl Args {
    /// The seeds, and whether it is a range.
    fn range(&self) -> Option<(Range<u64>, bool)> {
        if let Ok(seed) = self.seeds.parse() {
            return Some((seed..seed + 1, false));
        }
        let (from, to) = self.seeds.split_once("..")?;
        Some((from.parse().ok()?..to.parse().ok()?, true))
    }
}

fn main() -> ExitCode {
    let (args, began) = (Args::parse(), Instant::now());
    let Some((seeds, is_range)) = args.range() else {
        eprintln!("`--seeds {}`: give seeds as `A..B`, or one as `A`", args.seeds);
        return ExitCode::from(2);
    };
    let shown = format!("{}..{}", seeds.start, seeds.end);
    let progress = |seed: u64| {
        if seed.is_multiple_of(50) {
            println!("seed {seed}, {} s", began.elapsed().as_secs());
        }
    };
    let result = match (args.twice, is_range) {
        (true, _) => simulate_twice(seeds, progress),
        (false, true) => simulate_all(seeds, |seed, _| progress(seed)),
        (false, false) => one(seeds.start),
    };
    match result {
        Ok(()) => {
            let what = if args.twice { "keep every law and are one trace each" } else { "keep every law" };
            println!("seeds {shown} {what}, {} s", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed and prints its trace.
fn one(seed: u64) -> Result<(), String> {
    let outcome = simulate(seed);
    println!("{}", outcome.trace.join("\n"));
    let (leaves, digest) = (outcome.log_size, outcome.digest());
    println!("seed {seed}: {leaves} leaves, {:?}, trace {digest}", outcome.counts);
    outcome.broken.map_or(Ok(()), Err)
}
