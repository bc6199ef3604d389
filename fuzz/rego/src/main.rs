//! Compares our engine with OPA's servers: `fuzz-rego [SECONDS [SEED [POLICIES]]]`; `OPA` names OPA's program.
//! `fuzz-rego try FILE…` shows what our compiler says of files, and `data.t` without input (version 0: `*.v0.rego`).
//! `fuzz-rego corpus COUNT FOLDER` writes policies as bytes for the target that libFuzzer drives.
//! `fuzz-rego own …` compares our own ways of evaluating, `fuzz-rego residuals …` residuals, evaluated by OPA.

#![expect(
    clippy::disallowed_methods,
    reason = "the first seed is of the moment, and a run takes as long as it was asked to"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use fuzz_rego::{Compared, Opa};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == "try").is_some() {
        return try_files(&arguments.collect::<Vec<_>>());
    }
    if arguments.next_if(|word| word == "corpus").is_some() {
        return corpus(arguments);
    }
    let residuals = arguments.next_if(|word| word == "residuals").is_some();
    let own = arguments.next_if(|word| word == "own").is_some();
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let first: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(now);
    let most: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    if own {
        return alone(seconds, first, most);
    }
    let program = std::env::var("OPA").unwrap_or_else(|_| "opa".to_owned());
    let mut opa = match Opa::start(&program) {
        Ok(opa) => opa,
        Err(error) => {
            eprintln!("{program} does not start: {error}; set OPA to OPA's program");
            return ExitCode::FAILURE;
        }
    };
    let mut all = Compared::default();
    let mut shown = 0;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut cases = 0;
    while cases < most && Instant::now() < until {
        let seed = first.wrapping_add(cases);
        cases += 1;
        match if residuals { opa.compare_residuals(seed) } else { opa.compare(seed) } {
            Ok(found) => all.join(found),
            Err(error) => {
                println!("seed {seed}: {error}");
                match Opa::start(&program) {
                    Ok(again) => opa = again,
                    Err(error) => {
                        println!("{error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
        }
        for difference in &all.differences[shown..] {
            println!("{difference}\n");
        }
        shown = all.differences.len();
    }
    println!(
        "{cases} policies, {} evaluations compared ({} values, {} errors), {} rules refused by both, {} known \
         differences, {} differences; seeds from {first}",
        all.evaluations,
        all.values,
        all.errors,
        all.refused,
        all.known,
        all.differences.len()
    );
    if all.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn alone(seconds: u64, first: u64, most: u64) -> ExitCode {
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut compared, mut cases, mut differences) = (0, 0, 0);
    while cases < most && Instant::now() < until {
        match fuzz_rego::check(first.wrapping_add(cases)) {
            Ok(count) => compared += count,
            Err(difference) => {
                differences += 1;
                println!("{difference}\n");
            }
        }
        cases += 1;
    }
    println!("{cases} policies, {compared} evaluations compared, {differences} differences; seeds from {first}");
    if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes policies of the generator as inputs of [`fuzz_rego::bytes`] into a folder.
fn corpus(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let count = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(folder) = arguments.next() else { return ExitCode::FAILURE };
    for seed in 0..count {
        let case = fuzz_rego::Case::new(seed);
        let kind = if case.version == sekisho_rego::syntax::ast::Version::V0 { 9 } else { 8 };
        let texts = [(kind, case.text(&case.definitions)), (0, case.data.to_json())];
        for (at, (kind, text)) in texts.into_iter().enumerate() {
            let path = std::path::Path::new(&folder).join(format!("{seed}-{at}"));
            if std::fs::write(path, [&[kind], text.as_bytes()].concat()).is_err() {
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn try_files(files: &[String]) -> ExitCode {
    use sekisho_rego::syntax::ast::Version;
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let version = if file.ends_with(".v0.rego") { Version::V0 } else { Version::V1 };
        let policy = sekisho_rego::Compiler::new().version(version).module(file, &text).and_then(|all| all.compile());
        let input = std::fs::read_to_string(format!("{file}.json")).unwrap_or_else(|_| "{}".to_owned());
        let input = sekisho_rego::value::Value::from_json(&input).unwrap_or_default();
        match policy {
            Err(error) => println!("{error}"),
            Ok(policy) => println!("{:?}", fuzz_rego::evaluate(&policy, "data.t", &input, &input, false)),
        }
    }
    ExitCode::SUCCESS
}
