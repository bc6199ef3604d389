//! Exit codes, as documented in `docs/cli.md`.

use std::fmt;
use std::process::ExitCode;

use hyper::StatusCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    /// It was tried and failed.
    Failed,
    /// A negative answer: denied, different, not verified.
    Denied,
    Usage,
    Unreachable,
    Unauthorised,
    /// The exit code of a sidecar's workload.
    OfWorkload(u8),
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Denied => 2,
            Self::Usage => 3,
            Self::Unreachable => 4,
            Self::Unauthorised => 5,
            Self::OfWorkload(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What went wrong, what to do next, and the code to exit with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub exit: Exit,
    /// What the server answered, if it did.
    pub status: Option<StatusCode>,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, status: None, message: message.to_string() }
    }

    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn answered(self, status: StatusCode) -> Self {
        Self { status: Some(status), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
