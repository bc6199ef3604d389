//! Attestations of nodes, verified again from what a server kept of them.

mod report;
mod verify;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::global::Global;

#[derive(Debug, Subcommand)]
pub(crate) enum AttestVerb {
    /// Check a file of `sekisho agent evidence` offline: endorsement, quote, logs, boot; exit code 2 means no
    #[command(after_help = "Examples:\n  sekisho attest verify evidence.json --tpm-ca manufacturers.pem \
        --proof leaf.tlog-proof --trust-policy trust\n  \
        sekisho attest verify evidence.json --tpm-ca manufacturers.pem --boot-policy boot-policy.json --ear \
        --sha256 9b1d6e0a4f7c25838e90ab1c6d5f3e7728490cbd1e2f3a5b6c7d8e9fa0b1c2d3")]
    Verify(verify::VerifyArgs),
}

pub(crate) fn run(global: &Global, verb: &AttestVerb) -> Result<Exit, Failure> {
    match verb {
        AttestVerb::Verify(args) => verify::run(global, args),
    }
}
