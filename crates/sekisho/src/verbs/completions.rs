use std::io::Write;

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use crate::complete::VARIABLE;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that reads them
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// Prints what a shell reads at its start. It asks this program for candidates, so that ids are among them.
pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let name = args.shell.to_possible_value().map(|shell| shell.get_name().to_owned()).unwrap_or_default();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).ok_or_else(|| Failure::failed(format!("no completions for {name}")))?;
    let mut script = vec![];
    shell.write_registration(VARIABLE, "sekisho", "sekisho", "sekisho", &mut script).map_err(Failure::failed)?;
    match std::io::stdout().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(Exit::Ok),
    }
}
