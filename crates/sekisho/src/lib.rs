//! The command line: one verb, one file. `sekisho dev` runs every role as a process of its own.
//!
//! A library, so that a program can ask a verb without a process: the lab's tests do, on simulated machines.

mod answer;
mod cli;
mod complete;
mod config_file;
mod confirm;
mod dev;
mod exit;
mod global;
#[cfg(test)]
mod grammar;
mod ids;
mod network;
mod output;
#[cfg(test)]
mod printed;
mod progress;
mod reach;
mod rest;
mod role;
mod suggest;
mod svid_files;
#[cfg(test)]
mod variables;
mod verbs;
mod view;

use std::process::ExitCode;

pub use answer::{Answer, answer};

use crate::exit::Exit;

/// Runs this process's command line.
pub fn main() -> ExitCode {
    if let Some(error) = sekisho_runtime::become_child(std::env::args_os()) {
        eprintln!("sekisho: the program cannot be run: {error}");
        return ExitCode::from(u8::try_from(sekisho_runtime::NOT_RUN).unwrap_or(u8::MAX));
    }
    if let Some(exit) = network::become_helper() {
        return exit;
    }
    complete::answer(<cli::Cli as clap::CommandFactory>::command);
    let cli = match config_file::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints either where it belongs.
            let _printed = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    if cli.verb.is_daemon() {
        if let Err(error) = sekisho_runtime::set_loader_variables_aside() {
            eprintln!("sekisho: it cannot start itself again without the variables of the dynamic linker: {error}");
            return Exit::Failed.into();
        }
        sekisho_runtime::raise_open_files();
    }
    // One thread wakes no other; a verb that wants several says so.
    let runtime = match cli.verb.threads() {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sekisho: the system gives no threads: {error}");
            return Exit::Failed.into();
        }
    };
    let exit = match runtime.block_on(cli::run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("sekisho: {failure}");
            failure.exit.into()
        }
    };
    // Another's file that never answers keeps no program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit
}
