use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, command: &mut Command) -> Result<Exit, Failure> {
    generate(args.shell, command, "sekisho", &mut std::io::stdout());
    Ok(Exit::Ok)
}
