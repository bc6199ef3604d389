use std::path::PathBuf;

use clap::{Args, Command};

use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages, one for each verb
    to: PathBuf,
}

/// Writes a man page for each verb, made from the same grammar as `--help`.
pub(crate) fn run(args: &ManArgs, command: Command) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.to).map_err(Failure::failed)?;
    clap_mangen::generate_to(command, &args.to).map_err(Failure::failed)?;
    Ok(Exit::Ok)
}
