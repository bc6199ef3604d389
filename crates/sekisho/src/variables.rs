//! Every environment variable that a unit, a script or a page names is one that a program of this project reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Read by tests and builds, not by the program.
const OF_TESTS: [&str; 1] = ["SEKISHO_VECTORS"];

fn known(command: &Command, out: &mut BTreeSet<String>) {
    out.extend(command.get_arguments().filter_map(|flag| flag.get_env()?.to_str().map(str::to_owned)));
    command.get_subcommands().for_each(|verb| known(verb, out));
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for item in std::fs::read_dir(folder).unwrap().flatten() {
        let path = item.path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[test]
fn a_variable_that_a_text_names_exists() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let mut texts = vec![root.join("README.md"), root.join("SECURITY.md")];
    for folder in ["deploy", "docs"] {
        files(&root.join(folder), &mut texts);
    }
    let mut variables: BTreeSet<String> = OF_TESTS.map(str::to_owned).into();
    known(&Cli::command(), &mut variables);
    let (mut unknown, mut named) = (vec![], 0);
    for path in texts {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for at in text.match_indices("SEKISHO_").map(|(at, _)| at) {
            let rest = text.get(at..).unwrap();
            let end =
                rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_').unwrap_or(rest.len());
            let name = rest.get(..end).unwrap();
            named += 1;
            if !variables.contains(name) {
                unknown.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(named > 3, "{named}");
}
