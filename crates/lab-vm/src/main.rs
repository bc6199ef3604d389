//! The attestation lab: real agents in virtual machines with measured boot, against a real server (decisions/0071).

#![expect(clippy::disallowed_methods, reason = "virtual machines have the real clock")]

mod cases;
mod cpio;
mod evidence;
mod host;
mod image;
mod lab;
mod machine;
mod packages;
mod run;
mod tpm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use cases::{CASES, Case, Run};
use lab::Lab;
use packages::Packages;

const USAGE: &str = "usage: cargo xtask lab vm [--list] [--case NAME]…";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match chosen(&arguments) {
        Ok(None) => {
            list();
            ExitCode::SUCCESS
        }
        Ok(Some(cases)) => run_all(&cases),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The cases to run, or `None` for the list.
fn chosen(arguments: &[String]) -> Result<Option<Vec<&'static Case>>, String> {
    let mut arguments = arguments.iter().map(String::as_str);
    let mut cases = vec![];
    while let Some(argument) = arguments.next() {
        match argument {
            "--list" => return Ok(None),
            "--case" => {
                let name = arguments.next().ok_or(USAGE)?;
                let case = CASES.iter().find(|case| case.name == name);
                cases.push(case.ok_or_else(|| format!("no case `{name}`; `cargo xtask lab vm --list` lists them"))?);
            }
            other => return Err(format!("unknown argument `{other}`; {USAGE}")),
        }
    }
    Ok(Some(if cases.is_empty() { CASES.iter().collect() } else { cases }))
}

fn list() {
    for Case { name, expected, run } in CASES {
        match run {
            Run::Machines(_) => println!("{name:<18} {expected}"),
            Run::Test(test) => println!("{name:<18} {expected} (cargo test -p lab {test})"),
        }
    }
}

/// Runs cases one after the other. Fails if one has another verdict than the expected, or if none could run.
fn run_all(cases: &[&Case]) -> ExitCode {
    let packages = match own_program().and_then(Packages::find) {
        Ok(packages) => packages,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let (mut failed, mut passed) = (vec![], 0);
    for case in cases {
        match case.run {
            Run::Test(test) => println!("{:<18} see the test {test} of `cargo test -p lab`", case.name),
            Run::Machines(run) => match examined(&packages, run) {
                Ok(line) => {
                    println!("{:<18} ok      {line}", case.name);
                    passed += 1;
                }
                Err(why) => {
                    println!("{:<18} FAILED  expected: {}\n{why}", case.name, case.expected);
                    failed.push(case.name);
                }
            },
        }
    }
    println!("{passed} cases have the expected verdict, {} have not {}", failed.len(), failed.join(" "));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case in surroundings of its own.
fn examined(packages: &Packages, run: fn(&Lab<'_>) -> Result<String, String>) -> Result<String, String> {
    let started = Instant::now();
    let lab = Lab::new(packages)?;
    let verdict = run(&lab);
    let times = format!("{:.1} s; boots: {}", started.elapsed().as_secs_f64(), lab.times());
    match verdict {
        Ok(verdict) => Ok(format!("{times}\n    {}", verdict.replace('\n', "\n    "))),
        Err(why) => Err(format!("{times}\n{why}")),
    }
}

/// The program under test, which cargo puts beside this one.
fn own_program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name("sekisho"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_case_is_refused() {
        let arguments = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(chosen(&[]).unwrap().unwrap().len(), CASES.len());
        assert!(chosen(&arguments("--list")).unwrap().is_none());
        assert_eq!(chosen(&arguments("--case implant")).unwrap().unwrap()[0].name, "implant");
        for wrong in ["--case", "--case x", "x"] {
            assert!(chosen(&arguments(wrong)).is_err(), "{wrong}");
        }
    }
}
