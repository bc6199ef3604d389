//! `agent`: the daemon, and the verbs about attested agents.

mod daemon;
mod records;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};
use sekisho_agent::AgentArgs;

use crate::exit::{Exit, Failure};
use crate::role::Role;

pub(crate) use records::AgentVerb;

/// `sekisho agent --trust-domain prod.internal` runs an agent; `sekisho agent list` and the like ask the server about
/// agents.
#[derive(Debug)]
pub(crate) enum AgentNoun {
    Daemon(Box<Role<AgentArgs>>),
    Verb(AgentVerb),
}

pub(crate) async fn run(noun: AgentNoun) -> Result<Exit, Failure> {
    match noun {
        AgentNoun::Daemon(role) => daemon::run(*role).await,
        AgentNoun::Verb(verb) => records::run(verb).await,
    }
}

impl FromArgMatches for AgentNoun {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        match matches.subcommand() {
            Some(_) => AgentVerb::from_arg_matches(matches).map(Self::Verb),
            None => Role::from_arg_matches(matches).map(|role| Self::Daemon(Box::new(role))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for AgentNoun {
    fn augment_args(command: Command) -> Command {
        let command = AgentVerb::augment_subcommands(Role::<AgentArgs>::augment_args(command));
        // What the daemon needs no other verb needs.
        let command = command.subcommand_required(false).arg_required_else_help(false);
        command.args_conflicts_with_subcommands(true).subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
