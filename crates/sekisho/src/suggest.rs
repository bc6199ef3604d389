//! What was meant by a verb that does not exist: words of similar tools, and mistyped ones.

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
pub(crate) fn improve(mut error: Error, root: &Command) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return error };
    let tip = tip(root, &usage.to_string(), word);
    error.remove(ContextKind::SuggestedSubcommand);
    error.remove(ContextKind::Suggested);
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
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
        let error = root.clone().try_get_matches_from(format!("sekisho {line}").split(' ')).unwrap_err();
        improve(error, &root).to_string()
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
