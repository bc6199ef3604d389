//! OPA's conformance cases as texts to parse: from the folder `OPA_CASES` names or the Go module cache.

use std::path::{Path, PathBuf};

use serde_yaml_ng::Value as Yaml;

use super::ast::Version;
use super::{Options, parse_module, parse_query};

/// The folder with OPA's test files, `v0` and `v1` below it.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("OPA_CASES") {
        return Some(PathBuf::from(folder));
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let modules = home.join("go/pkg/mod/github.com/open-policy-agent");
    let mut versions: Vec<PathBuf> = std::fs::read_dir(modules).ok()?.flatten().map(|item| item.path()).collect();
    versions.sort();
    versions.into_iter().rev().map(|version| version.join("v1/test/cases/testdata")).find(|path| path.is_dir())
}

/// Says on standard error that a test was left out; past the harness, which shows nothing of a test that passes.
pub(crate) fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("\nskipped: {test}: {reason}\n");
    let _unread = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let mut found: Vec<_> = items.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    found.sort();
    found
}

/// The cases of a file.
pub(crate) fn cases(file: &Path) -> Vec<Yaml> {
    use serde::Deserialize as _;
    let text = std::fs::read_to_string(file).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let mut found = Vec::new();
    for document in documents {
        let Ok(document) = Yaml::deserialize(document) else { continue };
        found.extend(document.get("cases").and_then(Yaml::as_sequence).cloned().unwrap_or_default());
    }
    found
}

pub(crate) fn version_of(file: &Path) -> Version {
    if file.components().any(|part| part.as_os_str() == "v0") { Version::V0 } else { Version::V1 }
}

pub(crate) fn modules(case: &Yaml) -> Vec<String> {
    let list = case.get("modules").and_then(Yaml::as_sequence);
    list.into_iter().flatten().filter_map(|module| module.as_str().map(str::to_owned)).collect()
}

#[test]
fn every_module_of_opa_parses() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let (mut parsed, mut failed) = (0, Vec::new());
    for file in files(&folder) {
        let options = Options { version: version_of(&file), ..Options::default() };
        for case in cases(&file) {
            let note = case.get("note").and_then(Yaml::as_str).unwrap_or_default();
            for module in modules(&case) {
                match parse_module(note, &module, options) {
                    Ok(_) => parsed += 1,
                    Err(errors) => failed.push(errors.first().map(super::error::Error::render).unwrap_or_default()),
                }
            }
            let query = case.get("query").and_then(Yaml::as_str).unwrap_or_default();
            if let Err(errors) = parse_query(note, query, options) {
                failed.push(errors.first().map(super::error::Error::render).unwrap_or_default());
            }
        }
    }
    println!("{parsed} parsed, {} failed\n{}", failed.len(), failed.join("\n"));
    assert!(parsed > 0 && failed.is_empty());
}

/// A small generator of numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

#[test]
fn mutated_modules_never_panic() {
    let Some(folder) = folder() else { return skipped("OPA's test cases are not in the module cache") };
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut texts: Vec<(Version, String)> = Vec::new();
    for file in files(&folder) {
        texts.extend(cases(&file).iter().flat_map(modules).map(|module| (version_of(&file), module)));
    }
    let pieces: Vec<&str> = "{ } [ ] ( ) | , : ; . := = == in some every not with as if contains else and or \
                             $\" ` \" \\ { \n # - 0 \0 \u{e9} $`{"
        .split(' ')
        .collect();
    for (version, text) in &texts {
        let options = Options { version: *version, logical_keywords: numbers.below(2) == 0, ..Options::default() };
        for _ in 0..6 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len() + 1);
                let end = (at + numbers.below(6)).min(bytes.len());
                let from = numbers.below(bytes.len() + 1);
                let to = (from + numbers.below(30)).min(bytes.len());
                let piece = match numbers.below(3) {
                    0 => bytes[from..to].to_vec(),
                    _ => pieces[numbers.below(pieces.len())].as_bytes().to_vec(),
                };
                bytes.splice(at..end, piece);
            }
            if super::parse_bytes("mutated", &bytes, options).is_ok() {
                let text = String::from_utf8(bytes).unwrap();
                assert!(super::format::format("mutated", &text, options).is_ok());
            }
        }
    }
}

#[test]
fn deep_texts_are_refused() {
    for (open, close) in [
        ("[", "]"),
        ("{", "}"),
        ("(", ")"),
        ("f(", ")"),
        ("{1: ", "}"),
        ("[1 | x = ", "]"),
        ("-x[", "]"),
        ("$\"{", "}\""),
    ] {
        let text = format!("package p\nq := {}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse_module("deep", &text, Options::default()).is_err());
        let text = format!("package p\nq := {}1{}", open.repeat(60), close.repeat(60));
        assert!(parse_module("deep", &text, Options::default()).is_ok(), "{open}");
    }
    for op in ["+", "|", " in ", "*", "=="] {
        let text = format!("package p\nq := {}1", format!("1 {op} ").repeat(100_000));
        assert!(parse_module("deep", &text, Options::default()).is_err());
        let text = format!("package p\nq := {}1", format!("1 {op} ").repeat(200));
        assert!(parse_module("deep", &text, Options::default()).is_ok());
    }
}

#[test]
fn ambiguous_texts_are_refused_soon() {
    for open in ["[x | ", "{x | ", "{x: y | ", "{ {x; ", "((a, ", "some (x, "] {
        let text = format!("package p\nq if {{ {}", open.repeat(60));
        let logical = Options { logical_keywords: true, ..Options::default() };
        assert!(parse_module("ambiguous", &text, Options::default()).is_err());
        assert!(parse_module("ambiguous", &text, logical).is_err());
    }
}
