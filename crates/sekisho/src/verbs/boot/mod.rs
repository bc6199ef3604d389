//! Measured boot, offline: what an image will measure, and which boots a policy admits.

mod check;
mod file;
mod predict;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::global::Global;

#[derive(Debug, Subcommand)]
pub(crate) enum BootVerb {
    /// Compute what booting a unified kernel image measures (PCR 4 and 11, files of its initramfs)
    #[command(after_help = "Examples:\n  sekisho boot predict /efi/EFI/Linux/web.efi\n  \
        sekisho boot predict web.efi --name web-7 -o json")]
    Predict(predict::PredictArgs),
    /// Check a boot policy, and whether it admits the boot that an event log describes; exit code 2 means no
    #[command(after_help = "Examples:\n  sekisho boot check boot-policy.json\n  \
        sekisho boot check boot-policy.json --log /sys/kernel/security/tpm0/binary_bios_measurements")]
    Check(check::CheckArgs),
}

pub(crate) fn run(global: &Global, verb: &BootVerb) -> Result<Exit, Failure> {
    match verb {
        BootVerb::Predict(args) => predict::run(global, args),
        BootVerb::Check(args) => check::run(global, args),
    }
}
