//! Policy: one file for each verb.

mod answers;
mod bench;
mod check;
mod deps;
mod eval;
pub(super) mod files;
mod fmt;
mod inspect;
mod line_diff;
mod partial;
mod repl;
mod reports;
mod revision;
mod test;
mod watching;
mod workspace;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::global::{Global, ServerSocket};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Load the `.rego` files of a folder and report what is wrong with them
    #[command(
        after_help = "Examples:\n  sekisho policy check ./policy\n  sekisho policy check ./policy --schema ./schemas"
    )]
    Check(check::CheckArgs),
    /// Lay out `.rego` files in the one common form
    #[command(
        after_help = "Examples:\n  sekisho policy fmt ./policy --write\n  sekisho policy fmt ./policy --list --fail"
    )]
    Fmt(fmt::FmtArgs),
    /// Run `test_*` rules (`*_test.rego`) and case tables (`*_test.yaml`) of a folder
    #[command(after_help = "Examples:\n  sekisho policy test ./policy\n  sekisho policy test ./policy --threshold 80")]
    Test(test::TestArgs),
    /// Decide one JSON input by the policy of a folder, or evaluate a query; exit code 2 means denied
    #[command(after_help = "Examples:\n  sekisho policy eval ./policy --input request.json --explain fails\n  \
        sekisho policy eval ./policy 'data.workload.authz' --input request.json\n  \
        sekisho policy eval ./policy 'data.workload.authz.allow == true' --partial --unknowns input.subject")]
    Eval(eval::EvalArgs),
    /// Measure how long a decision, or a query, takes
    #[command(after_help = "Example:\n  sekisho policy bench ./policy --input request.json")]
    Bench(bench::BenchArgs),
    /// List packages, rules and annotations of `.rego` files
    #[command(after_help = "Example:\n  sekisho policy inspect ./policy --annotations")]
    Inspect(inspect::InspectArgs),
    /// List the documents that a query depends on
    #[command(after_help = "Example:\n  sekisho policy deps ./policy data.workload.authz.allow")]
    Deps(deps::DepsArgs),
    /// Try rules and queries line by line
    #[command(
        after_help = "Examples:\n  sekisho policy repl ./policy\n  sekisho policy repl --input request.json ./policy"
    )]
    Repl(repl::ReplArgs),
    /// Decide recorded requests again by the policy of a folder; exit code 2 means that some decisions differ
    #[command(after_help = "Example:\n  sekisho policy replay ./policy --last 1000")]
    Replay(super::replay::ReplayArgs),
    /// Make the `.rego` files of a folder the next revision, if the folder's own tests pass
    #[command(after_help = "Example:\n  sekisho policy apply ./policy")]
    Apply(revision::ApplyArgs),
    /// Show the revision in force
    #[command(alias = "get", after_help = "Example:\n  sekisho policy show")]
    Show(ServerSocket),
}

pub(crate) async fn run(global: Global, verb: PolicyVerb) -> Result<Exit, Failure> {
    match verb {
        PolicyVerb::Check(args) => check::run(&global, &args),
        PolicyVerb::Fmt(args) => fmt::run(&global, &args),
        PolicyVerb::Test(args) => test::run(&global, &args),
        PolicyVerb::Eval(args) => eval::run(&global, &args),
        PolicyVerb::Bench(args) => bench::run(&global, &args),
        PolicyVerb::Inspect(args) => inspect::run(&global, &args),
        PolicyVerb::Deps(args) => deps::run(&global, &args),
        PolicyVerb::Repl(args) => repl::run(&args),
        PolicyVerb::Replay(args) => super::replay::run(global, args).await,
        PolicyVerb::Apply(args) => revision::apply(global, args).await,
        PolicyVerb::Show(asks) => revision::show(global, asks).await,
    }
}
