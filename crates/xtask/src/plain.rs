//! Plain technical English: refused words (`docs/glossary.md`), long lines and long names of tests, counted by package
//! against the allowance in its manifest.

use std::collections::BTreeSet;
use std::path::Path;

use crate::names::{names, stated_parts};
use crate::ratchet::{Counts, allowance, lower};
use crate::source::{Piece, first_test_line, pieces};
use crate::words::Words;
use crate::{markdown, tidy};

const WORDS: &str = "refused-words";
const LINES: &str = "long-lines";
const TESTS: &str = "long-test-names";
const KINDS: [&str; 3] = [WORDS, LINES, TESTS];

const RUST_COLUMNS: usize = 120;
const MARKDOWN_COLUMNS: usize = 100;
/// A row of a table cannot be wrapped. The target of a link is not counted, because it cannot either.
const ROW_COLUMNS: usize = 160;
const TEST_PARTS: usize = 8;

#[derive(Debug)]
struct Finding {
    package: String,
    kind: &'static str,
    file: String,
    line: usize,
    text: String,
}

impl Finding {
    fn shown(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.text)
    }
}

/// What is beyond an allowance. What is below one is a finding for the test only (`strict`).
pub(crate) fn check(root: &Path, strict: bool) -> Result<Vec<String>, String> {
    let found = find(root)?;
    let mut out = Vec::new();
    for ((package, kind), count) in counts(root, &found)? {
        let (allowed, name) = (allowance(root, &package, kind)?, shown(&package));
        if count > allowed {
            out.push(format!("{name}: {kind}: {count} found, {allowed} allowed. New since origin/main, if any:"));
            let of_kind = found.iter().filter(|one| one.package == package && one.kind == kind);
            out.extend(of_kind.filter(|one| changed(root, one)).map(Finding::shown));
        } else if count < allowed && strict {
            out.push(format!("{name}: {kind}: {count} found, {allowed} allowed: run `cargo xtask words`"));
        }
    }
    Ok(out)
}

/// Prints what is found in packages of this name, or lowers every allowance to what is found.
pub(crate) fn words(root: &Path, name: Option<&str>) -> Result<Vec<String>, String> {
    let found = find(root)?;
    match name {
        Some("--first") | None => {
            let counts: Vec<_> = counts(root, &found)?.into_iter().collect();
            for own in counts.chunk_by(|a, b| a.0.0 == b.0.0) {
                let kinds: Vec<_> = own.iter().map(|((_, kind), count)| (*kind, *count)).collect();
                let Some(((package, _), _)) = own.first() else { continue };
                lower(root, package, &kinds, name.is_some())?;
                eprintln!("{:<24} {kinds:?}", shown(package));
            }
            Ok(vec![])
        }
        Some(name) => Ok(found.iter().filter(|one| shown(&one.package) == name).map(Finding::shown).collect()),
    }
}

fn shown(package: &str) -> &str {
    if package.is_empty() { "documents" } else { package.rsplit('/').next().unwrap_or(package) }
}

/// The number of findings of each package and kind, also where there are none.
fn counts(root: &Path, found: &[Finding]) -> Result<Counts, String> {
    let mut packages: BTreeSet<String> = ["", "fuzz", "examples/payments"].map(str::to_owned).into();
    for item in std::fs::read_dir(root.join("crates")).map_err(|e| e.to_string())? {
        packages.insert(format!("crates/{}", item.map_err(|e| e.to_string())?.file_name().to_string_lossy()));
    }
    let mut out: Counts =
        packages.into_iter().flat_map(|package| KINDS.map(|kind| ((package.clone(), kind), 0))).collect();
    for one in found {
        *out.entry((one.package.clone(), one.kind)).or_default() += 1;
    }
    Ok(out)
}

/// Whether the line of a finding was changed since the branch left `origin/main`; yes if git cannot say.
fn changed(root: &Path, finding: &Finding) -> bool {
    let text = std::fs::read_to_string(root.join(&finding.file)).unwrap_or_default();
    let line = format!("+{}", text.lines().nth(finding.line.saturating_sub(1)).unwrap_or_default());
    let diff = ["diff", "-U0", "origin/main...", "--", &finding.file];
    let output = std::process::Command::new("git").args(diff).current_dir(root).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else { return true };
    String::from_utf8_lossy(&output.stdout).lines().any(|changed| changed == line)
}

fn find(root: &Path) -> Result<Vec<Finding>, String> {
    let words = Words::read(root)?;
    let (mut out, mut sources) = (Vec::new(), Vec::new());
    for path in markdown::files(root)? {
        in_markdown(&words, &mut File::read(root, &path, &mut out)?);
    }
    for folder in ["crates", "examples", "fuzz"] {
        tidy::collect(&root.join(folder), &mut sources).map_err(|e| e.to_string())?;
    }
    sources.sort();
    for path in sources {
        in_rust(&words, &mut File::read(root, &path, &mut out)?)?;
    }
    Ok(out)
}

/// A file that is looked through, and the list for what is found in it.
struct File<'a> {
    package: String,
    name: String,
    text: String,
    out: &'a mut Vec<Finding>,
}

impl<'a> File<'a> {
    fn read(root: &Path, path: &Path, out: &'a mut Vec<Finding>) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let parts: Vec<&str> = name.split('/').collect();
        let package = match parts.as_slice() {
            [folder @ ("crates" | "examples"), own, _, ..] => format!("{folder}/{own}"),
            ["fuzz", ..] => "fuzz".to_owned(),
            _ => String::new(),
        };
        Ok(Self { package, name, text, out })
    }

    fn add(&mut self, kind: &'static str, line: usize, text: String) {
        self.out.push(Finding { package: self.package.clone(), kind, file: self.name.clone(), line, text });
    }

    fn words(&mut self, words: &Words, line: usize, text: &str) {
        for (word, say) in words.find(text) {
            self.add(WORDS, line, format!("`{word}`: say {say}"));
        }
    }

    fn columns(&mut self, line: usize, text: &str, most: usize) {
        let columns = text.chars().count();
        if columns > most {
            self.add(LINES, line, format!("{columns} columns, more than {most}"));
        }
    }
}

fn in_markdown(words: &Words, file: &mut File<'_>) {
    let text = std::mem::take(&mut file.text);
    let mut generated = false;
    for (number, line) in text.lines().enumerate() {
        // The rows of a generated table follow from the code.
        generated = (generated || line.starts_with("<!-- written by")) && line != "<!-- end -->";
        if generated {
            continue;
        }
        let most = if line.starts_with('|') { ROW_COLUMNS } else { MARKDOWN_COLUMNS };
        file.columns(number + 1, &markdown::without_targets(line), most);
    }
    // The table of refused words names them.
    let refusing = text.lines().position(|line| line == "## Refused words").map_or(usize::MAX, |at| at + 1);
    for (number, line) in markdown::prose(&text) {
        if number < refusing || !line.starts_with('|') {
            file.words(words, number, &line);
        }
    }
}

fn in_rust(words: &Words, file: &mut File<'_>) -> Result<(), String> {
    let text = std::mem::take(&mut file.text);
    for (number, line) in text.lines().enumerate() {
        file.columns(number + 1, line, RUST_COLUMNS);
    }
    let is_test_file = file.name.contains("/tests/") || file.name.ends_with("/tests.rs");
    let tests = if is_test_file { 0 } else { first_test_line(&text) };
    for (number, piece, text) in pieces(&text) {
        let message = piece == Piece::Text && text.contains(' ') && number < tests;
        if piece == Piece::Comment || message {
            file.words(words, number, &markdown::without_code(&text));
        }
    }
    for name in names(&text).map_err(|e| format!("{}: {e}", file.name))? {
        file.words(words, name.line, &name.text);
        let parts = stated_parts(&name.text);
        if name.is_test && parts > TEST_PARTS {
            file.add(TESTS, name.line, format!("`{}` has {parts} words, more than {TEST_PARTS}", name.text));
        }
    }
    Ok(())
}
