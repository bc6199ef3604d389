//! What holds of the whole grammar: examples, names, variables.

use std::ffi::OsString;

use clap::{Command, CommandFactory, Parser};

use crate::cli::{Cli, with_list};
use crate::printed::words;

/// Each verb that a person may use, with the words that lead to it.
fn verbs<'a>(command: &'a Command, path: &str, out: &mut Vec<(String, &'a Command)>) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        let path = format!("{path} {}", verb.get_name());
        verbs(verb, &path, out);
        out.push((path, verb));
    }
}

#[test]
fn every_flag_of_a_daemon_has_a_variable() {
    let command = Cli::command();
    command.clone().debug_assert();
    for daemon in ["server", "agent", "proxy"] {
        let verb = command.find_subcommand(daemon).unwrap();
        for flag in verb.get_opts().filter(|flag| !flag.is_global_set()) {
            assert!(flag.get_env().is_some(), "`sekisho {daemon} --{}` has no variable", flag.get_id());
        }
    }
}

#[test]
fn every_verb_has_help_and_an_example() {
    let (command, mut found) = (Cli::command(), vec![]);
    verbs(&command, "sekisho", &mut found);
    assert!(found.len() > 40, "{}", found.len());
    for (path, verb) in found {
        assert!(verb.get_about().is_some(), "{path} has no help");
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  sekisho")).collect();
        assert!(help.starts_with("Example") && !examples.is_empty(), "{path} has no example: {help:?}");
        for example in examples {
            let example = format!("sekisho{example}");
            assert!(example.starts_with(&path), "{path}: {example}");
            let split = words(&example);
            assert!(Cli::try_parse_from(&split).is_ok(), "{path}: {example}: {split:?}");
        }
        for argument in verb.get_arguments() {
            assert!(
                argument.get_help().is_some() || argument.is_hide_set(),
                "{path}: {} has no help",
                argument.get_id()
            );
        }
    }
}

/// One flag and one variable for one thing.
#[test]
fn a_variable_belongs_to_one_flag() {
    let (command, mut found) = (Cli::command(), vec![]);
    verbs(&command, "sekisho", &mut found);
    let mut flag_of = std::collections::BTreeMap::new();
    for (path, verb) in found {
        for flag in verb.get_opts() {
            let (Some(variable), Some(long)) = (flag.get_env(), flag.get_long()) else { continue };
            let known = flag_of.entry(variable.to_owned()).or_insert_with(|| long.to_owned());
            assert_eq!(known, long, "{path}: {variable:?}");
        }
    }
}

#[test]
fn a_plural_alone_lists() {
    let read = |line: &str| {
        let words = with_list(line.split(' ').map(OsString::from).collect());
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read("sekisho agents"), "sekisho agents list");
    assert_eq!(read("sekisho decisions --effect deny"), "sekisho decisions list --effect deny");
    for same in ["sekisho entries show ent_1", "sekisho tokens --help", "sekisho agent", "sekisho"] {
        assert_eq!(read(same), same);
    }
    for line in
        ["sekisho agents list", "sekisho agents", "sekisho entry ls", "sekisho svids", "sekisho help entry list"]
    {
        let words = with_list(line.split(' ').map(OsString::from).collect());
        let read = Cli::try_parse_from(words);
        assert!(
            read.as_ref().is_ok() || read.is_err_and(|e| e.kind() == clap::error::ErrorKind::DisplayHelp),
            "{line}"
        );
    }
}

#[test]
fn a_printed_command_gets_its_sockets() {
    let options = |command: &str| crate::dev::options(&Cli::command(), command, "/s", "/a");
    assert_eq!(options("agent list"), " --server-socket /s");
    assert_eq!(options("why dec_01"), " --server-socket /s --agent-socket /a");
    assert_eq!(options("svid fetch"), " --agent-socket /a");
    assert_eq!(options("verify p --trust-policy t"), "");
}
