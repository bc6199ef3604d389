//! Runs seeds of the simulator: `simulate --seeds A..B`, or `simulate --seeds A` for one with its trace.

#![expect(clippy::disallowed_methods, reason = "it reports how long it took")]

use std::process::ExitCode;
use std::time::Instant;

use lab::sim::{simulate, simulate_all};

fn main() -> ExitCode {
    let given = std::env::args().skip(1).find(|given| given != "--seeds").unwrap_or_else(|| "0..1000".into());
    let began = Instant::now();
    if let Ok(seed) = given.parse() {
        let outcome = simulate(seed);
        println!("{}", outcome.trace.join("\n"));
        println!(
            "seed {seed}: {:?}, {} leaves, {:?}, trace {}",
            outcome.broken,
            outcome.log_size,
            outcome.counts,
            outcome.digest()
        );
        println!("{} ms", began.elapsed().as_millis());
        return if outcome.broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let bounds = given.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let Some((from, to)) = bounds else {
        eprintln!("give seeds as `--seeds A..B`, or one as `--seeds A`");
        return ExitCode::from(2);
    };
    let result = simulate_all(from..to, |seed, _| {
        if seed % 50 == 0 {
            println!("seed {seed}, {} s", began.elapsed().as_secs());
        }
    });
    match result {
        Ok(()) => {
            println!("seeds {from}..{to} keep every law, {} s", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
