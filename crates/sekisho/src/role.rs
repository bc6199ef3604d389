//! What every daemon has in common: it holds keys.

use clap::Args;
use sekisho_runtime::{check_preload_and_tracer, close_to_others, danger, init_logs};

use crate::exit::{Exit, Failure};

/// A daemon's own settings, and how well it is closed to other processes.
#[derive(Debug, Args)]
pub(crate) struct Role<T: Args> {
    #[command(flatten)]
    pub own: T,
    #[command(flatten)]
    pub closed: Closed,
}

#[derive(Debug, Args)]
pub(crate) struct Closed {
    /// Let other processes of the same user read this process, including its keys: for an agent without
    /// CAP_SYS_PTRACE, which could not measure this process otherwise
    #[arg(long, env = "SEKISHO_DANGER_DUMPABLE")]
    pub danger_dumpable: bool,
    /// Start although LD_PRELOAD or LD_AUDIT loads a library into this process, or another process traces it
    #[arg(long, env = "SEKISHO_DANGER_PRELOAD")]
    pub danger_preload: bool,
}

impl Closed {
    /// Starts the log, and closes the process as far as its settings allow.
    pub(crate) fn start(&self, log: &str) -> Result<(), Failure> {
        init_logs(log);
        match check_preload_and_tracer() {
            Err(company) if self.danger_preload => danger("danger_preload", &company.to_string()),
            Err(company) => return Err(Failure::new(Exit::Failed, company.to_string())),
            Ok(()) => {}
        }
        if self.danger_dumpable {
            danger("danger_dumpable", "other processes of this user can read this one's keys");
            return Ok(());
        }
        close_to_others().map_err(Failure::failed)
    }
}
