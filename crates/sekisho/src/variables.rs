//! Environment variables: one that a unit, a script or a page names exists, and each that exists is in the man page of
//! its verb and in docs/cli.md. `UPDATE=1` writes the table of docs/cli.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Read by tests and builds, not by the program.
const OF_TESTS: [&str; 1] = ["SEKISHO_VECTORS"];

const BEGIN: &str = "<!-- written by the test `the_command_line_page_lists_each_variable` with UPDATE=1 -->\n";
const END: &str = "<!-- end -->";

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..")
}

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
    let root = root();
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

/// Each verb that has a man page.
fn verbs(command: &Command, out: &mut Vec<Command>) {
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).for_each(|verb| verbs(verb, out));
    out.push(command.clone());
}

#[test]
fn each_man_page_names_its_variables() {
    let (mut command, mut all, mut named) = (Cli::command().disable_help_subcommand(true), vec![], 0);
    command.build();
    verbs(&command, &mut all);
    for verb in all {
        let mut page = vec![];
        clap_mangen::Man::new(verb.clone()).render(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for flag in verb.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let Some(variable) = flag.get_env().and_then(|variable| variable.to_str()) else { continue };
            named += 1;
            let is_named = page.contains(&format!("\\fB{variable}\\fR"));
            assert!(is_named, "{}: {variable} is not in the man page:\n{page}", verb.get_name());
        }
    }
    assert!(named > 150, "{named}");
}

/// Of each variable: its flag, and the nouns and verbs that have it.
fn rows(command: &Command, noun: &str, out: &mut BTreeMap<String, (String, BTreeSet<String>)>) {
    for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
        let Some(variable) = flag.get_env().and_then(|variable| variable.to_str()) else { continue };
        let name = flag.get_long().map_or_else(|| flag.get_id().to_string(), |long| format!("--{long}"));
        out.entry(variable.to_owned()).or_insert_with(|| (name, BTreeSet::new())).1.insert(noun.to_owned());
    }
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        rows(verb, if noun.is_empty() { verb.get_name() } else { noun }, out);
    }
}

#[test]
fn the_command_line_page_lists_each_variable() {
    let mut found = BTreeMap::new();
    rows(&Cli::command(), "", &mut found);
    let mut table = "| variable | flag | of |\n|---|---|---|\n".to_owned();
    for (variable, (flag, nouns)) in &found {
        let of: Vec<String> = nouns.iter().map(|noun| format!("`{noun}`")).collect();
        let of = if of.len() > 4 { format!("{} verbs", of.len()) } else { of.join(", ") };
        table += &format!("| `{variable}` | `{flag}` | {of} |\n");
    }
    let path = root().join("docs/cli.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}\n{table}\n{END}{after}")).unwrap();
        return;
    }
    assert_eq!(listed.trim(), table.trim(), "run this test with UPDATE=1");
    assert!(found.len() > 100, "{}", found.len());
}
