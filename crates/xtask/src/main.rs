//! Developer verbs. What `cargo xtask layers`, `tidy`, `deny` and `invariants` check also runs as tests.

mod changes;
mod circles;
mod deny;
mod generate;
mod guided;
mod invariants;
mod layers;
mod links;
mod markdown;
mod names;
mod order;
mod plain;
#[cfg(test)]
mod publish;
mod ratchet;
mod source;
mod tidy;
mod wire;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let findings = match verb.as_str() {
        "layers" => layers::check(&root())
            .and_then(|found| Ok([found, circles::check(&root())?, changes::check(&root())?].concat())),
        "invariants" => invariants::write(&root()).and_then(|_| invariants::check(&root())),
        "tidy" => tidy::check(&root())
            .and_then(|found| Ok([found, order::check(&root())?, plain::check(&root(), false)?].concat())),
        "links" => links::check(&root()),
        "words" => plain::words(&root(), std::env::args().nth(2).as_deref()),
        "gen" => generate::run(&root()),
        "deny" => deny::check(&root()),
        "fuzz" => run(&["run", "--quiet", "--release", "--package", "fuzz", "--"]),
        "fuzz-rego" if std::env::args().nth(2).as_deref() == Some("guided") => guided::run(&root()),
        "fuzz-rego" => run(&["run", "--quiet", "--release", "--package", "fuzz-rego", "--"]),
        "simulate" => run(&["run", "--quiet", "--package", "lab", "--bin", "simulate", "--"]),
        "lab" if std::env::args().nth(2).as_deref() == Some("vm") => run(&["build", "--quiet", "--package", "sekisho"])
            .and_then(|_| run_with(3, &["run", "--quiet", "--package", "lab-vm", "--"])),
        "bench" => run(&["build", "--quiet", "--release", "--package", "sekisho", "--package", "payments"])
            .and_then(|_| run(&["bench", "--quiet", "--package", "lab", "--bench", "system", "--"])),
        _ => Err("usage: cargo xtask layers | tidy | words [PACKAGE] | links | gen | deny | invariants | \
                 fuzz [SECONDS [TARGET]] | fuzz-rego [own | residuals | guided] [SECONDS] | \
                 simulate [--seeds A..B] [--twice] | lab vm [--list] [--case NAME]… | \
                 bench [PART…]"
            .to_owned()),
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
    run_with(2, arguments)
}

/// Likewise, without the first of our own.
fn run_with(skipped: usize, arguments: &[&str]) -> Result<Vec<String>, String> {
    let own = std::env::args().skip(skipped).filter(|_| arguments.last() == Some(&"--"));
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
    fn dependencies_go_down_the_layers_only() {
        assert_eq!(layers::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn files_form_no_new_circles() {
        assert_eq!(circles::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_select_says_its_order() {
        assert_eq!(order::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_map_names_files_that_exist() {
        assert_eq!(changes::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn each_law_names_its_tests() {
        assert_eq!(invariants::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn files_and_functions_keep_to_their_budgets() {
        assert_eq!(tidy::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn ci_counts_skipped_tests_once() {
        let folder = std::env::temp_dir().join(format!("sekisho-count-{}", std::process::id()));
        let count = |text: &str| {
            std::fs::write(&folder, text).unwrap();
            let output = std::process::Command::new(root().join(".ci/count")).arg(&folder).output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let log = "test a ... ok\nskipped: x::a: no folder\nskipped: x::a: no folder\nskipped: y: no go\n\
                   test result: ok. 16 passed; 0 failed; 3 ignored; 0 measured\n\
                   test result: FAILED. 2 passed; 1 failed; 0 ignored\n";
        assert_eq!(count(log), (true, "16 passed, 1 failed, 2 skipped".to_owned()));
        assert_eq!(count("no test ran"), (false, "0 passed, 0 failed, 0 skipped".to_owned()));
        std::fs::remove_file(&folder).unwrap();
    }

    #[test]
    fn a_summary_names_failed_and_skipped_tests() {
        let file = std::env::temp_dir().join(format!("sekisho-summary-{}", std::process::id()));
        let log = "test a::b ... ok\ntest a::c ... FAILED\nskipped: x::a: no folder\nskipped: x::a: no folder\n\
                   test result: FAILED. 2 passed; 1 failed; 0 ignored\n";
        std::fs::write(&file, log).unwrap();
        let output = std::process::Command::new(root().join(".ci/summary")).arg(&file).output().unwrap();
        let expected = "Failed:\n  a::c\nSkipped:\n  x::a: no folder\n1 passed, 1 failed, 1 skipped\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert!(output.status.success());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn generated_wire_code_is_current() {
        assert_eq!(wire::check(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn text_is_in_plain_english() {
        assert_eq!(plain::check(&root(), true).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn links_in_documents_lead_somewhere() {
        assert_eq!(links::check(&root()).unwrap(), Vec::<String>::new());
    }

    fn name(path: &std::path::Path) -> String {
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    #[test]
    fn concept_pages_are_short_and_have_a_picture() {
        let pages = markdown::files(&root().join("docs/concepts")).unwrap();
        assert_eq!(pages.len(), 6);
        for page in pages {
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.split_whitespace().count() <= 500, "{}", page.display());
            assert!(text.contains("](../img/"), "{}", page.display());
        }
        let pictures = std::fs::read_dir(root().join("docs/img")).unwrap().map(|item| item.unwrap().path());
        // A picture of a terminal has colours of its own.
        let is_drawn = |path: &PathBuf| {
            path.extension().is_some_and(|ending| ending == "svg") && !name(path).starts_with("terminal")
        };
        for path in pictures.filter(is_drawn) {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains("prefers-color-scheme: dark") && text.contains("<title>"), "{text}");
            assert!(!text.contains("@import") && !text.contains("@font-face") && !text.contains("href"), "{text}");
        }
    }

    #[test]
    fn licences_are_ones_that_we_accept() {
        assert_eq!(deny::check(&root()).unwrap(), Vec::<String>::new());
    }
}
