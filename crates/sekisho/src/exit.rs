//! Exit codes, as documented in `docs/cli.md`.

use std::fmt;
use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The answer is no: denied, different, not verified.
    Denied = 2,
    Usage = 3,
    Unreachable = 4,
    Unauthorised = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong, what to do next, and the code to exit with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A call to the agent or the server that did not succeed.
    pub(crate) fn status(socket: &std::path::Path, status: &tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unavailable | tonic::Code::Unknown => Self::new(
                Exit::Unreachable,
                format!(
                    "no agent answers at {}; start one, or give `--agent` ({})",
                    socket.display(),
                    status.message()
                ),
            ),
            tonic::Code::PermissionDenied => Self::new(Exit::Unauthorised, status.message()),
            _ => Self::failed(status.message()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
