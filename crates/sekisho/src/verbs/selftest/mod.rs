//! Tests of the machine on which they run.

mod bypass;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::global::Global;

#[derive(Debug, Subcommand)]
pub(crate) enum SelftestVerb {
    /// Try to get past network rules in the kernel by every known technique; exit code 2 if one succeeds
    #[command(after_help = "Examples:\n  sekisho selftest bypass\n  sekisho selftest bypass -o json >coverage.json")]
    Bypass,
    /// Make the attempts of `bypass`, in its cgroup
    #[command(hide = true)]
    Inside,
}

pub(crate) fn run(global: &Global, verb: &SelftestVerb) -> Result<Exit, Failure> {
    match verb {
        SelftestVerb::Bypass => bypass::run(global),
        SelftestVerb::Inside => sekisho_kernel::bypass::inside().map(|()| Exit::Ok).map_err(Failure::failed),
    }
}
