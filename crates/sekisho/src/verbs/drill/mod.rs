//! Attacks on a running system that have to fail, and how soon they are seen.

mod patience;
mod tamper_binary;
mod tpm;

use clap::{Args, Subcommand};
use sekisho_api::DrillKind;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;

#[derive(Debug, Subcommand)]
pub(crate) enum DrillVerb {
    /// Change an executable that has an identity by one byte: it must get none, and the attempt must be on record
    ///
    /// The executable is a copy of this program, with an entry that is made for the drill and deleted after it.
    #[command(after_help = "Example:\n  sekisho drill tamper-binary")]
    TamperBinary,
    /// Judge a node by the key of another TPM: its answer must be refused, and an alert must be raised
    ///
    /// The node's own TPM answers over the agent's connection, by the same rules as ever; the server takes another key
    /// for the one that it knows. The node stays attested, and shows its state once more after the drill.
    #[command(after_help = "Examples:\n  sekisho drill swap-tpm\n  sekisho drill swap-tpm db-1")]
    SwapTpm(TpmAgent),
    /// Answer a fresh challenge with a quote that the node gave before: it must be refused, and an alert must be raised
    ///
    /// The node is asked for its state and shows it; that answer is then judged again, for another challenge. The node
    /// stays attested.
    #[command(after_help = "Examples:\n  sekisho drill replay-quote\n  sekisho drill replay-quote db-1")]
    ReplayQuote(TpmAgent),
}

/// With whose answers an attack is played.
#[derive(Debug, Args)]
pub(crate) struct TpmAgent {
    /// SPIFFE ID of an agent whose node has a TPM, its path, or a prefix of its last part; needed if there are several
    #[arg(add = complete::agents())]
    id: Option<String>,
}

pub(crate) async fn run(global: &Global, verb: DrillVerb) -> Result<Exit, Failure> {
    match verb {
        DrillVerb::TamperBinary => tamper_binary::run(global).await,
        DrillVerb::SwapTpm(TpmAgent { id }) => tpm::run(global, DrillKind::SwapTpm, id).await,
        DrillVerb::ReplayQuote(TpmAgent { id }) => tpm::run(global, DrillKind::ReplayQuote, id).await,
    }
}
