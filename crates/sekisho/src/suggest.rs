//! What was meant by a verb that does not exist: words of similar tools, and mistyped ones.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// Words of other tools for what a command here does; the first command that exists is proposed.
const SYNONYMS: [(&[&str], &[&str]); 9] = [
    (&["generate", "new", "make", "register", "issue", "mint"], &["create"]),
    (&["remove", "del", "destroy", "kill"], &["delete", "revoke", "evict"]),
    (&["describe", "inspect", "view", "info", "read"], &["show"]),
    (&["modify", "edit", "set", "change", "patch"], &["update"]),
    (&["start", "up", "init", "run", "demo", "quickstart", "install"], &["dev"]),
    (&["status", "health", "check", "ps", "ping"], &["doctor", "check", "list"]),
    (&["log", "logs", "audit", "events", "history"], &["decision", "list"]),
    (&["explain", "debug"], &["why"]),
    (&["fetch", "get"], &["svid", "show"]),
];

/// Edits (a letter more, less, another or two exchanged) up to which a word may be a mistyped other one.
const MOST_EDITS: usize = 2;

/// The error with our own tip in place of clap's, if it is about a verb.
pub(crate) fn improve(mut error: Error, root: &Command, arguments: &[OsString]) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return error };
    let tip = noun_first(root, word, arguments).or_else(|| tip(root, &usage.to_string(), word));
    error.remove(ContextKind::SuggestedSubcommand);
    error.remove(ContextKind::Suggested);
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

/// The command with its noun first, for one that was typed as in kubectl: `get entries`.
fn noun_first(root: &Command, word: &str, arguments: &[OsString]) -> Option<String> {
    let typed: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let noun = *typed.iter().skip_while(|typed| **typed != word).nth(1)?;
    let plural = noun.strip_suffix("ies").map(|stem| format!("{stem}y"));
    let singular = plural.as_deref().or_else(|| noun.strip_suffix('s')).unwrap_or(noun);
    let parent = root.find_subcommand(noun).or_else(|| root.find_subcommand(singular))?;
    let synonym = SYNONYMS.iter().find(|(words, _)| words.contains(&word)).map(|(_, verbs)| *verbs);
    // One that names nothing wants to see all.
    let all = (word == "get" && typed.last() == Some(&noun)).then_some("list");
    let mut names = all.into_iter().chain([word]).chain(synonym.into_iter().flatten().copied());
    let verb = names.find_map(|name| parent.find_subcommand(name))?;
    Some(format!("the noun comes first: `sekisho {} {}`", parent.get_name(), verb.get_name()))
}

/// A command in place of `word`, behind the noun that the usage line names.
fn tip(root: &Command, usage: &str, word: &str) -> Option<String> {
    let noun = usage.split_whitespace().skip_while(|part| *part != "sekisho").nth(1);
    let noun = noun.and_then(|noun| root.find_subcommand(noun));
    let path = noun.map_or_else(|| "sekisho".to_owned(), |noun| format!("sekisho {}", noun.get_name()));
    let parent = noun.unwrap_or(root);
    let synonym = SYNONYMS.iter().find(|(words, _)| words.contains(&word));
    if let Some(verb) = synonym.and_then(|(_, verbs)| verbs.iter().find_map(|name| parent.find_subcommand(name))) {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        return Some(format!("`{path} {}`: {about}", verb.get_name()));
    }
    let names = parent.get_subcommands().filter(|verb| !verb.is_hide_set()).flat_map(|verb| {
        // A plural lists; any other alias is a word for the same.
        let names = std::iter::once(verb.get_name()).chain(verb.get_visible_aliases());
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    let edits = |name: &String| strsim::damerau_levenshtein(word, name);
    let near = names.filter(|name| edits(name) <= MOST_EDITS.min(word.len() / 2)).min_by_key(edits)?;
    Some(format!("a similar command exists: `{path} {near}`"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn shown(line: &str) -> String {
        let root = Cli::command();
        let arguments: Vec<OsString> = format!("sekisho {line}").split(' ').map(OsString::from).collect();
        let error = root.clone().try_get_matches_from(&arguments).unwrap_err();
        improve(error, &root, &arguments).to_string()
    }

    #[test]
    fn a_wrong_verb_names_the_command() {
        for (line, command) in [
            ("token generate", "`sekisho token create`"),
            ("token remove", "`sekisho token revoke`"),
            ("entires", "`sekisho entries`"),
            ("entyr list", "`sekisho entry`"),
            ("entry lst", "`sekisho entry list`"),
            ("agents lst", "`sekisho agent list`"),
            ("start", "`sekisho dev`"),
            ("up", "`sekisho dev`"),
            ("init", "`sekisho dev`"),
            ("status", "`sekisho doctor`"),
            ("logs", "`sekisho decision`"),
            ("policy validate", ""),
            ("get entries", "`sekisho entry list`"),
            ("get agent dev", "`sekisho agent show`"),
            ("list policies", ""),
            ("create entry", "`sekisho entry create`"),
            ("delete entries ent_1", "`sekisho entry delete`"),
            ("describe decision dec_1", "`sekisho decision show`"),
            ("list things", ""),
        ] {
            let shown = shown(line);
            let tips: Vec<&str> = shown.lines().filter(|line| line.contains("tip:")).collect();
            assert!(
                tips.len() == usize::from(!command.is_empty()) && tips.concat().contains(command),
                "{line}: {shown}"
            );
        }
    }
}
