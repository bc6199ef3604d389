//! The grammar of the command line: nouns in the singular, each with the verbs `list`, `show`, `create`, `delete`.
//! Every flag is also
//! an environment variable.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::{Exit, Failure};
use crate::global::{Noun, Output, ServerOptions, SocketOptions, With};
use crate::role::Role;
use crate::verbs::agent::AgentNoun;
use crate::{dev, verbs};

/// Zero-trust identity, policy and proof for services on your own hosts
#[derive(Debug, Parser)]
#[command(name = "sekisho", version, propagate_version = true, infer_long_args = false)]
#[command(
    after_help = "Example:\n  sekisho dev\n\nA noun in the plural alone lists: `sekisho entries`. `sekisho help \
        <verb>` shows its options."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run every role on this machine and show the main job
    #[command(after_help = "Example:\n  sekisho dev --fresh")]
    Dev(With<Output, dev::DevArgs>),
    /// Run a server
    #[command(
        after_help = "Example:\n  sekisho server --trust-domain prod.internal --policy-folder /etc/sekisho/policy"
    )]
    Server(Box<Role<sekisho_server::ServerArgs>>),
    /// Run an agent, or ask the server about attested agents
    #[command(visible_alias = "agents")]
    #[command(after_help = "Examples:\n  sekisho agent --trust-domain prod.internal --server 10.0.0.1:8081 \
            --join-token-file /etc/sekisho/token \
                            --trust-bundle /etc/sekisho/bundle.pem\n  sekisho agent list")]
    Agent(AgentNoun),
    /// Run a sidecar for one workload
    #[command(
        after_help = "Example:\n  sekisho proxy --trust-domain prod.internal --data /var/lib/sekisho/proxy-shop \
            --inbound 0.0.0.0:8443 \
                            --upstream unix:/run/shop/http.sock -- /usr/bin/shop"
    )]
    Proxy(Box<Role<sekisho_proxy::ProxyArgs>>),
    /// Registration entries: which process gets which identity
    #[command(visible_alias = "entries", after_help = "Example:\n  sekisho entry list")]
    Entry(Noun<ServerOptions, verbs::entry::EntryVerb>),
    /// Join tokens for agents
    #[command(visible_alias = "tokens", after_help = "Example:\n  sekisho token create --agent-id db-1 --file token")]
    Token(Noun<ServerOptions, verbs::token::TokenVerb>),
    /// TPMs by which nodes attested, and those that wait for approval
    #[command(visible_alias = "tpms", after_help = "Example:\n  sekisho tpm list")]
    Tpm(Noun<ServerOptions, verbs::tpm::TpmVerb>),
    /// What operators are alerted to: nodes whose state was refused
    #[command(visible_alias = "alerts", after_help = "Example:\n  sekisho alert list")]
    Alert(Noun<ServerOptions, verbs::alert::AlertVerb>),
    /// Attack this system, and measure how soon that is refused and seen
    #[command(visible_alias = "drills", after_help = "Example:\n  sekisho drill tamper-binary")]
    Drill(Noun<SocketOptions, verbs::drill::DrillVerb>),
    /// SVIDs that are refused although they have not expired
    #[command(visible_alias = "revocations", after_help = "Example:\n  sekisho revocation list")]
    Revocation(Noun<ServerOptions, verbs::revocation::RevocationVerb>),
    /// The trust bundle
    #[command(visible_alias = "bundles", after_help = "Example:\n  sekisho bundle show --form fingerprint")]
    Bundle(Noun<ServerOptions, verbs::bundle::BundleVerb>),
    /// Identities: fetch one from the agent, list what was issued
    #[command(visible_alias = "svids", after_help = "Example:\n  sekisho svid fetch")]
    Svid(Noun<Output, verbs::svid::SvidVerb>),
    /// Run a program with its identity in files, which are renewed while it runs
    Exec(Box<verbs::exec::ExecArgs>),
    /// Check, test, evaluate and apply policy
    #[command(visible_alias = "policies", after_help = "Example:\n  sekisho policy check ./policy")]
    Policy(Noun<Output, verbs::policy::PolicyVerb>),
    /// Decisions on requests, and processes that were refused an identity
    #[command(visible_alias = "decisions", after_help = "Example:\n  sekisho decision list --effect deny")]
    Decision(Noun<ServerOptions, verbs::decision::DecisionVerb>),
    /// Rates, denials and expiries of each service, updated live
    #[command(after_help = "Example:\n  sekisho top --window 1m")]
    Top(With<ServerOptions, verbs::top::TopArgs>),
    /// Requests from and to one service, as they are decided
    #[command(after_help = "Example:\n  sekisho tap payment-gateway --effect deny")]
    Tap(With<ServerOptions, verbs::tap::TapArgs>),
    /// Explain why a process has no identity, or why a request was allowed or denied
    #[command(after_help = "Examples:\n  sekisho why dec_0193ab4f6c2d1a2b\n  sekisho why identity --pid 4711")]
    Why(With<SocketOptions, verbs::why::WhyArgs>),
    /// Write a proof file for an attestation, an issuance or a decision
    #[command(after_help = "Example:\n  sekisho prove dec_0193ab4f6c2d1a2b --file proof --trust-policy trust")]
    Prove(With<ServerOptions, verbs::prove::ProveArgs>),
    /// Check a proof file offline
    #[command(after_help = "Example:\n  sekisho verify proof --trust-policy trust")]
    Verify(With<Output, verbs::verify::VerifyArgs>),
    /// Copy a server's state, keys and log; the server may run
    #[command(after_help = "Example:\n  sekisho backup --trust-domain prod.internal --to /backup/monday")]
    Backup(With<Output, verbs::backup::BackupArgs>),
    /// Replace the data of a server by a copy
    #[command(after_help = "Example:\n  sekisho restore --trust-domain prod.internal --from /backup/monday")]
    Restore(With<Output, verbs::backup::RestoreArgs>),
    /// The log on a server's disk
    #[command(after_help = "Example:\n  sekisho ledger fsck")]
    Ledger(Noun<Output, verbs::ledger::LedgerVerb>),
    /// Measured boot: what an image will measure, and which boots a policy admits
    #[command(after_help = "Example:\n  sekisho boot predict /efi/EFI/Linux/web.efi")]
    Boot(Noun<Output, verbs::boot::BootVerb>),
    /// Attestations of nodes, offline
    #[command(after_help = "Example:\n  sekisho attest verify evidence.json --tpm-ca manufacturers.pem \
        --proof leaf.tlog-proof --trust-policy trust")]
    Attest(Noun<Output, verbs::attest::AttestVerb>),
    /// Check this machine, its server and its agent
    #[command(after_help = "Example:\n  sekisho doctor")]
    Doctor(SocketOptions),
    /// Workloads of this machine that are under rules of the network in the kernel
    #[command(after_help = "Example:\n  sekisho network list")]
    Network(Noun<Output, verbs::network::NetworkVerb>),
    /// Test what the kernel of this machine enforces
    #[command(after_help = "Example:\n  sekisho selftest bypass")]
    Selftest(Noun<Output, verbs::selftest::SelftestVerb>),
    /// Print completions for a shell
    #[command(
        visible_alias = "completion",
        after_help = "Example:\n  sekisho completions bash >/etc/bash_completion.d/sekisho"
    )]
    Completions(verbs::completions::CompletionsArgs),
    /// Print the version
    #[command(after_help = "Example:\n  sekisho version")]
    Version,
    /// Write man pages
    #[command(hide = true)]
    Man(verbs::man::ManArgs),
    /// Print the REST API's OpenAPI 3.1 document
    #[command(hide = true)]
    Openapi,
}

impl Verb {
    pub(crate) const fn is_daemon(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Agent(AgentNoun::Daemon(_)) | Self::Proxy(_))
    }

    /// Threads that serve requests; files and measurements have others.
    pub(crate) fn threads(&self) -> usize {
        let every_core = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = match self {
            Self::Server(role) => role.own.threads.map_or_else(every_core, usize::from),
            Self::Agent(AgentNoun::Daemon(role)) => role.own.threads.into(),
            Self::Proxy(role) => role.own.threads.into(),
            _ => 1,
        };
        threads.max(1)
    }
}

pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Dev(With { asks, own }) => dev::run(&asks.into(), own, Cli::command()).await,
        Verb::Server(args) => verbs::server::run(*args).await,
        Verb::Agent(noun) => verbs::agent::run(noun).await,
        Verb::Proxy(args) => verbs::proxy::run(*args).await,
        Verb::Entry(Noun { asks, verb }) => verbs::entry::run(&asks.into(), verb).await,
        Verb::Token(Noun { asks, verb }) => verbs::token::run(&asks.into(), verb).await,
        Verb::Alert(Noun { asks, verb }) => verbs::alert::run(&asks.into(), verb).await,
        Verb::Tpm(Noun { asks, verb }) => verbs::tpm::run(&asks.into(), verb).await,
        Verb::Drill(Noun { asks, verb }) => verbs::drill::run(&asks.into(), verb).await,
        Verb::Revocation(Noun { asks, verb }) => verbs::revocation::run(&asks.into(), verb).await,
        Verb::Bundle(Noun { asks, verb }) => verbs::bundle::run(&asks.into(), verb).await,
        Verb::Svid(Noun { asks, verb }) => verbs::svid::run(asks.into(), verb).await,
        Verb::Exec(args) => verbs::exec::run(*args).await,
        Verb::Policy(Noun { asks, verb }) => verbs::policy::run(asks.into(), verb).await,
        Verb::Decision(Noun { asks, verb }) => verbs::decision::run(&asks.into(), verb).await,
        Verb::Top(With { asks, own }) => verbs::top::run(&asks.into(), own).await,
        Verb::Tap(With { asks, own }) => verbs::tap::run(&asks.into(), own).await,
        Verb::Why(With { asks, own }) => verbs::why::run(&asks.into(), own).await,
        Verb::Prove(With { asks, own }) => verbs::prove::run(&asks.into(), own).await,
        Verb::Verify(With { asks, own }) => verbs::verify::run(&asks.into(), &own),
        Verb::Backup(With { asks, own }) => verbs::backup::backup(&asks.into(), &own),
        Verb::Restore(With { asks, own }) => verbs::backup::restore(&asks.into(), &own),
        Verb::Man(args) => verbs::man::run(&args, Cli::command()),
        Verb::Ledger(Noun { asks, verb }) => verbs::ledger::run(&asks.into(), &verb),
        Verb::Boot(Noun { asks, verb }) => verbs::boot::run(&asks.into(), &verb),
        Verb::Attest(Noun { asks, verb }) => verbs::attest::run(&asks.into(), &verb),
        Verb::Doctor(asks) => verbs::doctor::run(&asks.into()).await,
        Verb::Network(Noun { asks, verb }) => verbs::network::run(&asks.into(), &verb),
        Verb::Selftest(Noun { asks, verb }) => verbs::selftest::run(&asks.into(), &verb),
        Verb::Completions(args) => verbs::completions::run(&args),
        Verb::Version => crate::output::line(concat!("sekisho ", env!("CARGO_PKG_VERSION"))).map(|()| Exit::Ok),
        Verb::Openapi => crate::output::line(sekisho_server::OPENAPI_DOCUMENT.trim_end()).map(|()| Exit::Ok),
    }
}

/// Nouns in the plural, which list when no verb follows.
const PLURALS: [&str; 8] = ["agents", "alerts", "decisions", "entries", "revocations", "svids", "tokens", "tpms"];

/// The command line with `list` behind a noun in the plural that has no verb.
pub(crate) fn with_list(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_plural = arguments.get(1).is_some_and(|noun| PLURALS.iter().any(|plural| noun == plural));
    let has_verb = arguments.get(2).is_some_and(|next| {
        let next = next.to_string_lossy();
        !next.starts_with('-') || next == "-h" || next == "--help"
    });
    if is_plural && !has_verb {
        arguments.insert(2, "list".into());
    }
    arguments
}
