//! `sekisho dev`: every role as a process of its own on this machine, and the main job from attestation to proof.
//!
//! What it does can be done by hand with the same commands: it starts `sekisho server`, `agent` and `proxy`, and speaks
//! to them by their sockets. It opens no other program's files.

mod events;
mod folder;
mod job;
mod kernel;
mod node_tpm;
mod nodes;
mod process;
mod stopwatch;

#[cfg(test)]
pub(crate) use stopwatch::options;

use std::path::PathBuf;

use clap::{Args, Command};
use sekisho_runtime::{Stop, dev_folder, stop_on_signal};

use crate::exit::{Exit, Failure};
use crate::global::Global;

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Folder for all files of `dev`
    #[arg(long, env = "SEKISHO_DEV_FOLDER")]
    folder: Option<PathBuf>,
    /// Delete the state of an earlier run
    #[arg(long, env = "SEKISHO_DEV_FRESH")]
    fresh: bool,
    /// Stop after the last milestone
    #[arg(long, env = "SEKISHO_DEV_ONCE")]
    once: bool,
    /// Folder with the sample services `payment-gateway` and `transactions`; default: the folder of this
    /// executable
    #[arg(long, env = "SEKISHO_DEV_SERVICES")]
    services: Option<PathBuf>,
    #[command(flatten)]
    tpm: node_tpm::TpmArgs,
}

/// `grammar` says which options a command has that is printed.
pub(crate) async fn run(global: &Global, args: DevArgs, grammar: Command) -> Result<Exit, Failure> {
    let watch = stopwatch::Stopwatch::start(global.output, args.folder.as_deref(), grammar);
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let folder = folder::Folder::open(args.folder.unwrap_or_else(dev_folder), args.fresh)?;
    let services = match args.services {
        Some(folder) => folder,
        None => folder::beside_this_executable()?,
    };
    let mut roles = process::Roles::default();
    let done = tokio::select! {
        biased;
        () = stop.wait() => Ok(()),
        done = job::run(&folder, &services, &args.tpm, &watch, &mut roles) => done,
    };
    let shown = match done {
        Ok(()) if args.once || stop.is_triggered() => Ok(Exit::Ok),
        Ok(()) => {
            watch.note(&format!("all of it stays up; policy: {} (edit it). Ctrl-C stops", folder.policy().display()));
            tokio::select! {
                biased;
                () = stop.wait() => Ok(Exit::Ok),
                died = roles.first_to_end() => Err(Failure::failed(format!("{died}; its log is in \
                    {}", folder.logs().display()))),
                never = events::follow(&folder, &watch) => match never {},
            }
        }
        Err(failure) => {
            watch.note(&format!("logs are in {}", folder.logs().display()));
            Err(failure)
        }
    };
    roles.end().await;
    shown
}
