//! The grammar of the command line. Every flag is also an environment variable.

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::role::Role;
use crate::{dev, verbs};

/// Zero-trust identity, policy and proof for services on your own hosts
#[derive(Debug, Parser)]
#[command(name = "sekisho", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run every role on this machine and show the main job
    Dev(dev::DevArgs),
    /// Run a server
    Server(Box<Role<sekisho_server::ServerArgs>>),
    /// Run an agent
    Agent(Box<Role<sekisho_agent::AgentArgs>>),
    /// Run a sidecar for one workload
    Proxy(Box<Role<sekisho_proxy::ProxyArgs>>),
    /// Registration entries: which process gets which identity
    #[command(subcommand)]
    Entry(verbs::entry::EntryVerb),
    /// Join tokens for agents
    #[command(subcommand)]
    Token(verbs::token::TokenVerb),
    /// Attested agents
    #[command(subcommand)]
    Agents(verbs::agents::AgentsVerb),
    /// SVIDs that are refused although they have not expired
    #[command(subcommand)]
    Revocation(verbs::revocation::RevocationVerb),
    /// The trust bundle
    #[command(subcommand)]
    Bundle(verbs::bundle::BundleVerb),
    /// Identities: fetch one from the agent, list what was issued
    #[command(subcommand)]
    Svid(verbs::svid::SvidVerb),
    /// Check, test, evaluate and apply policy
    #[command(subcommand)]
    Policy(verbs::policy::PolicyVerb),
    /// What was decided
    Decisions(verbs::decisions::DecisionsArgs),
    /// Why a process has no identity, or why a decision came out as it did
    Why(verbs::why::WhyArgs),
    /// Write a proof file for an attestation, an issuance or a decision
    Prove(verbs::prove::ProveArgs),
    /// Check a proof file offline
    Verify(verbs::verify::VerifyArgs),
    /// Copy a server's state, keys and log; the server may run
    Backup(verbs::backup::BackupArgs),
    /// Put a copy in the place of a server's data
    Restore(verbs::backup::RestoreArgs),
    /// The log as it stands on a server's disk
    #[command(subcommand)]
    Ledger(verbs::ledger::LedgerVerb),
    /// Check this machine, its server and its agent
    Doctor,
    /// Print completions for a shell
    Completions(verbs::completions::CompletionsArgs),
    /// Write man pages
    #[command(hide = true)]
    Man(verbs::man::ManArgs),
    /// Print the REST API's OpenAPI 3.1 document
    #[command(hide = true)]
    Openapi,
}

impl Verb {
    pub(crate) const fn is_daemon(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Agent(_) | Self::Proxy(_))
    }

    /// Threads that serve requests; files and measurements have others.
    pub(crate) fn threads(&self) -> usize {
        let every_core = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = match self {
            Self::Server(role) => role.own.threads.map_or_else(every_core, usize::from),
            Self::Agent(role) => role.own.threads.into(),
            Self::Proxy(role) => role.own.threads.into(),
            _ => 1,
        };
        threads.max(1)
    }
}

pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.verb {
        Verb::Dev(args) => dev::run(global, args).await,
        Verb::Server(args) => verbs::server::run(*args).await,
        Verb::Agent(args) => verbs::agent::run(*args).await,
        Verb::Proxy(args) => verbs::proxy::run(*args).await,
        Verb::Entry(verb) => verbs::entry::run(global, verb).await,
        Verb::Token(verb) => verbs::token::run(global, verb).await,
        Verb::Agents(verb) => verbs::agents::run(global, verb).await,
        Verb::Revocation(verb) => verbs::revocation::run(global, verb).await,
        Verb::Bundle(verb) => verbs::bundle::run(global, verb).await,
        Verb::Svid(verb) => verbs::svid::run(global, verb).await,
        Verb::Policy(verb) => verbs::policy::run(global, verb).await,
        Verb::Decisions(args) => verbs::decisions::run(global, args).await,
        Verb::Why(args) => verbs::why::run(global, args).await,
        Verb::Prove(args) => verbs::prove::run(global, args).await,
        Verb::Verify(args) => verbs::verify::run(global, &args),
        Verb::Backup(args) => verbs::backup::backup(global, &args),
        Verb::Restore(args) => verbs::backup::restore(global, &args),
        Verb::Man(args) => verbs::man::run(&args, Cli::command()),
        Verb::Ledger(verb) => verbs::ledger::run(global, &verb),
        Verb::Doctor => verbs::doctor::run(global).await,
        Verb::Completions(args) => verbs::completions::run(&args, &mut Cli::command()),
        Verb::Openapi => crate::output::line(&sekisho_server::openapi_document()).map(|()| Exit::Ok),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_grammar_holds_together_and_every_flag_is_an_environment_variable() {
        let command = super::Cli::command();
        command.clone().debug_assert();
        for daemon in ["server", "agent", "proxy"] {
            let verb = command.find_subcommand(daemon).unwrap();
            for flag in verb.get_opts().filter(|flag| !flag.is_global_set()) {
                assert!(flag.get_env().is_some(), "`sekisho {daemon} --{}` has no variable", flag.get_id());
            }
        }
    }
}
