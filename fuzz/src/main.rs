//! `cargo xtask fuzz [SECONDS [TARGET]]`: runs each target, or one, with fresh seeds, and keeps what breaks it.

#![expect(
    clippy::disallowed_methods,
    reason = "the first seed is of the moment, and a run takes as long as it was asked to"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let only = arguments.next();
    let targets: Vec<_> =
        fuzz::all().into_iter().filter(|t| only.as_deref().is_none_or(|name| name == t.name)).collect();
    if targets.is_empty() {
        eprintln!("no such target; there are: {}", fuzz::all().iter().map(|t| t.name).collect::<Vec<_>>().join(", "));
        return ExitCode::from(64);
    }
    std::panic::set_hook(Box::new(|_| {}));
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut broken = false;
    for target in &targets {
        let until = Instant::now() + Duration::from_secs(seconds);
        match fuzz::run(target, seed, u64::MAX, Some(until)) {
            Ok(run) => println!(
                "{:<18} {:>10} runs, {:>5} outcomes, slowest {:?}",
                target.name, run.executions, run.outcomes, run.slowest
            ),
            Err(failure) => {
                broken = true;
                let path = std::env::temp_dir().join(format!("fuzz-{}-{seed}", target.name));
                let kept = std::fs::write(&path, &failure.input);
                println!(
                    "{:<18} BROKEN: {} (seed {seed}, input in {}: {kept:?})",
                    target.name,
                    failure.message,
                    path.display()
                );
            }
        }
    }
    if fuzz::compared() > 0 {
        println!("{} decisions compared with the engine's", fuzz::compared());
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
