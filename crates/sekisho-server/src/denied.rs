//! Why a caller is not admitted to what it asks for.

use std::time::Duration;

use sekisho_identity::Standing;
use sekisho_store::{Conflict, StoreError};

use crate::journal::JournalError;
use crate::refusal::Fault;
use crate::standing::says;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("this call is for operators: use the local socket, or an SVID whose entry is `admin`")]
    NoOperator,
    #[error("the `Host` or `Origin` header does not name this server")]
    Host,
    #[error("no role may make this call")]
    NoRow,
    #[error("the request is longer than {0} bytes")]
    TooLong(usize),
    #[error("the request was not complete within {} s; send it faster, or in smaller parts", .0.as_secs())]
    Slow(Duration),
    /// The caller went, or broke off.
    #[error("the request is incomplete")]
    Incomplete,
    #[error("this call needs an agent's SVID as client certificate")]
    NoSvid,
    #[error("the client certificate is not an agent's")]
    NoAgent,
    #[error("the agent's SVID has expired")]
    Expired,
    #[error("{}", says(*.0))]
    Standing(Standing),
    /// What is stored of its attestation is not understood.
    #[error("the agent must attest again")]
    MustAttest,
    #[error("the agent's node has not shown its state for {0} s; it must attest again")]
    Silent(i64),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Journal(error.into())
    }
}

impl From<Conflict> for Denied {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Standing { standing, .. } => Self::Standing(standing),
            other => Self::Journal(other.into()),
        }
    }
}

impl Fault for Denied {
    fn is_caller_fault(&self) -> bool {
        !matches!(self, Self::Journal(_) | Self::Incomplete)
    }

    fn log_message(&self) -> String {
        self.to_string()
    }
}
