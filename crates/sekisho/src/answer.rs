//! A verb that a program asks, in its own process.

use std::ffi::OsString;

use crate::exit::Exit;
use crate::output::Written;
use crate::{cli, config_file, output};

/// What a verb came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As the program would exit with.
    pub code: u8,
    /// What it would print on stdout.
    pub printed: String,
    /// What it would say on stderr on its way.
    pub said: String,
    /// What it would say on stderr at its end; empty if it did what it was asked for.
    pub failure: String,
}

/// Asks a verb: the arguments are those of the command line, without the program's name.
pub async fn answer(arguments: impl IntoIterator<Item = OsString>) -> Answer {
    let arguments = std::iter::once("sekisho".into()).chain(arguments).collect();
    let cli = match config_file::parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let (printed, said) = Default::default();
            return Answer { code: Exit::Usage.code(), printed, said, failure: error.to_string() };
        }
    };
    let (done, Written { printed, said }) = output::written_by(cli::run(cli)).await;
    match done {
        Ok(exit) => Answer { code: exit.code(), printed, said, failure: String::new() },
        Err(failure) => Answer { code: failure.exit.code(), printed, said, failure: failure.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_what_the_program_prints() {
        let ask = async |arguments: &[&str]| answer(arguments.iter().map(OsString::from)).await;
        let document = ask(&["openapi"]).await;
        assert!(document.code == 0 && document.printed.contains("\"openapi\""), "{document:?}");
        let usage = ask(&["entry", "no-such-verb"]).await;
        assert!(usage.code == 3 && usage.failure.contains("no-such-verb"), "{usage:?}");
        let absent = ask(&["token", "list", "--server-socket", "/nowhere/api.sock"]).await;
        assert!(absent.code == 4 && absent.failure.contains("no server runs here"), "{absent:?}");
    }
}
