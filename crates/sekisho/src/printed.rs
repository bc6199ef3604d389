//! Every command that a text of this project prints or teaches is one that this program has, and none of those that are
//! given as advice weakens anything (law L16).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use proc_macro2::{TokenStream, TokenTree};

use crate::cli::{Cli, with_list};

fn root() -> PathBuf {
    // Asked at run time: a build may be shared between checkouts.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..")
}

fn files(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for item in std::fs::read_dir(folder).unwrap().flatten() {
        let path = item.path();
        if path.is_dir() && !path.ends_with("tests") && !path.ends_with("benches") {
            files(&path, ending, out);
        } else if path.extension().is_some_and(|found| found == ending) && !path.ends_with("printed.rs") {
            out.push(path);
        }
    }
}

/// All string literals of a source file, doc comments among them.
fn literals(tokens: TokenStream, out: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => literals(group.stream(), out),
            TokenTree::Literal(literal) => {
                out.extend(syn::parse_str::<syn::LitStr>(&literal.to_string()).ok().map(|text| text.value()));
            }
            _ => {}
        }
    }
}

/// The words of the first command of a shell line, as a shell splits them.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut depth) = (vec![], String::new(), None, 0u32);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (_, '(') => depth += 1,
            (_, ')') if depth > 0 => depth -= 1,
            (None, '&' | '|' | ';' | '>' | ')' | '#') if depth == 0 => {
                // The number of a stream that is redirected is not an argument.
                word.retain(|digit| c != '>' || !digit.is_ascii_digit());
                break;
            }
            (None, ' ') if depth == 0 => out.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            _ => word.push(c),
        }
    }
    out.extend((!word.is_empty()).then_some(word));
    out
}

/// `{id}` and `<folder>` as a value that any flag takes.
fn filled(text: &str) -> String {
    let (mut out, mut closing) = (String::new(), None);
    for c in text.chars() {
        match (closing, c) {
            (None, '{' | '<') => closing = Some(if c == '{' { '}' } else { '>' }),
            (Some(end), c) if end == c => {
                out.push('1');
                closing = None;
            }
            (None, c) => out.push(c),
            _ => {}
        }
    }
    out
}

/// A word as a shell could expand it. A variable before a slash is a folder; what else a shell puts there takes any
/// form, and this one suits texts and digests.
fn expanded(word: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match word.split_once('$') {
        None => word.to_owned(),
        Some((before, rest)) if rest.trim_start_matches(is_name).starts_with('/') && !rest.starts_with('/') => {
            expanded(&format!("{before}/folder{}", rest.trim_start_matches(is_name)))
        }
        Some((before, _)) if before.ends_with('=') => format!("{before}spiffe://td/a"),
        Some(_) => "0".repeat(64),
    }
}

/// What is wrong with a command.
fn judged(words: &[String]) -> Result<(), String> {
    let mut command = &Cli::command();
    let names_a_verb = words.iter().skip(1).all(|word| {
        let found = command.find_subcommand(word);
        command = found.unwrap_or(command);
        found.is_some()
    });
    // Whichever verb stands there.
    if words.get(1).is_some_and(|verb| verb == "1" || verb == "help") {
        return Ok(());
    }
    let words = words.iter().map(|word| expanded(word).into()).collect();
    match Cli::try_parse_from(with_list(words)) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        // A verb that is named is not a command to paste.
        Err(_) if names_a_verb => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn weakens(words: &[String]) -> bool {
    let has = |flag: &str| words.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    let changes_an_entry =
        words.get(1).is_some_and(|verb| verb == "entry") && words.get(2).is_some_and(|verb| verb == "update");
    let named = words.iter().any(|word| word.starts_with("--danger") || word.starts_with("--insecure"));
    let loosens =
        ["--selector", "--remove-selector", "--expires-at", "--admin", "--tpm-key"].iter().any(|flag| has(flag));
    named || has("--yes") || (changes_an_entry && loosens)
}

#[test]
fn law_l16_no_command_in_a_message_weakens_anything() {
    let (mut sources, mut wrong, mut seen) = (vec![], vec![], 0);
    files(&root().join("crates"), "rs", &mut sources);
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut texts = vec![];
        literals(TokenStream::from_str(&text).unwrap(), &mut texts);
        for text in texts {
            let quoted = text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("sekisho "));
            let whole = (text.starts_with("sekisho ") && !text.contains('`')).then_some(text.as_str());
            for command in quoted.chain(whole) {
                seen += 1;
                let words = words(&filled(command));
                if let Err(error) = judged(&words) {
                    wrong.push(format!("{}: `{command}`: {error}", path.display()));
                }
                if weakens(&words) {
                    wrong.push(format!("{}: `{command}` weakens what it is about", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 25, "{seen} commands found");
}

/// Help names such options; an error or a hint that proposes one would be pasted.
#[test]
fn law_l16_no_message_proposes_an_option_that_loosens() {
    let (mut sources, mut wrong, mut seen) = (vec![], vec![], 0);
    files(&root().join("crates"), "rs", &mut sources);
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        // Help is in comments.
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .fold(String::new(), |all, line| all + line + "\n");
        let mut texts = vec![];
        literals(TokenStream::from_str(&code).unwrap(), &mut texts);
        seen += texts.len();
        let proposing = texts.into_iter().filter(|text| text.contains("`--danger"));
        wrong.extend(proposing.map(|text| format!("{}: {text}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 1000, "{seen} texts found");
}

#[test]
fn every_command_in_the_documents_parses() {
    let (mut documents, mut wrong, mut seen) = (vec![root().join("README.md"), root().join("SECURITY.md")], vec![], 0);
    files(&root().join("docs"), "md", &mut documents);
    for path in documents {
        let text = std::fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        let mut fenced = false;
        for line in text.lines() {
            fenced = if fenced { !line.starts_with("```") } else { line.starts_with("```sh") };
            let inline = line.split('`').skip(1).step_by(2);
            let lines: Vec<&str> = if fenced { vec![line] } else { inline.collect() };
            for line in lines {
                for (at, _) in line.match_indices("sekisho ") {
                    let (before, command) = line.split_at(at);
                    let starts = before.is_empty() || before.ends_with("$(") || (before.ends_with(' ') && fenced);
                    // An option's value, as in `systemctl start sekisho …`, a Helm release and a list of verbs are no
                    // commands.
                    if !starts || command.contains('…') || before.contains('#') || before.starts_with("helm ") {
                        continue;
                    }
                    seen += 1;
                    if let Err(error) = judged(&words(&filled(command))) {
                        wrong.push(format!("{}: {command}: {error}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 15, "{seen} commands found");
}

#[test]
fn what_an_attack_would_print_is_caught() {
    let weak = |command: &str| weakens(&words(&filled(command)));
    assert!(weak("sekisho entry update {id} --selector unix:uid:0"));
    assert!(weak("sekisho entry update {id} --expires-at 0"));
    assert!(weak("sekisho restore --danger-accept-older-log"));
    assert!(!weak("sekisho entry create --selector unix:uid:0"));
    assert!(judged(&words("sekisho entry create --parent x")).is_err());
    assert!(judged(&words("sekisho why")).is_ok() && judged(&words("sekisho wy")).is_err());
}
