//! Developer verbs. `cargo xtask rooms` and `cargo xtask tidy` also run as tests.

mod deny;
mod rooms;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let findings = match verb.as_str() {
        "rooms" => rooms::check(&root()),
        "tidy" => tidy::check(&root()),
        "deny" => deny::check(&root()),
        "fuzz" => run(&["run", "--quiet", "--release", "--package", "fuzz", "--"]),
        "bench" => run(&["build", "--quiet", "--release", "--package", "sekisho", "--package", "payments"])
            .and_then(|_| run(&["bench", "--quiet", "--package", "lab", "--bench", "system", "--"])),
        _ => Err("usage: cargo xtask rooms | tidy | deny | fuzz [SECONDS [TARGET]] | bench [PART…]".to_owned()),
    };
    match findings {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("{}", findings.join("\n"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs cargo with these arguments and, behind `--`, our own.
fn run(arguments: &[&str]) -> Result<Vec<String>, String> {
    let own = std::env::args().skip(2).filter(|_| arguments.last() == Some(&"--"));
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo.args(arguments).args(own).current_dir(root()).status().map_err(|e| e.to_string())?;
    if status.success() { Ok(vec![]) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

/// The workspace's folder.
fn root() -> PathBuf {
    // Asked at run time: a build may be shared between checkouts.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), |own| PathBuf::from(own).join("../.."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_keep_to_their_floors() {
        assert_eq!(rooms::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn files_and_functions_keep_to_their_budgets() {
        assert_eq!(tidy::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn licences_are_ones_that_we_accept() {
        assert_eq!(deny::check(&root()).unwrap(), Vec::<String>::new());
    }
}
