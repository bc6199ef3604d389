//! Why a node is not admitted.

use sekisho_events::IssuanceId;
use sekisho_evidence::node::NodeError;
use sekisho_store::{Conflict, StoreError};
use sekisho_types::{Digest, SpiffeId};

use crate::denied::Denied;
use crate::issue::IssueError;
use crate::journal::JournalError;
use crate::refusal::Fault;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    #[error("too many attestations from this address; wait a second and try again")]
    TooMany,
    #[error("too many nodes attest at this time, or too many of this address; try again in a moment")]
    Busy,
    #[error("{0}")]
    Message(String),
    #[error("no message for 30 s")]
    Silent,
    #[error("the node closed the connection before it had proved itself")]
    Gone,
    #[error("the attestation takes too many steps")]
    TooLong,
    #[error("node attestor `{name}` is not known here (known: {known})")]
    UnknownAttestor { name: String, known: String },
    #[error(
        "the join token is unknown or was used before; create another with `sekisho token create --agent-id <agent>`"
    )]
    TokenUnknown,
    #[error("the join token has expired; create another with `sekisho token create --agent-id <agent>`")]
    TokenExpired,
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It proved which node it is, and its state is refused. It is no longer attested.
    #[error("attestation denied: {heard}")]
    Denied {
        agent: SpiffeId,
        /// For administrators and the record.
        reason: String,
        /// What the node hears.
        heard: String,
    },
    #[error(
        "no authority that this server trusts vouches for the node's TPM, and no operator allowed it: `sekisho tpm \
         approve {0}` on the server's side does"
    )]
    Unapproved(Digest),
    #[error(
        "what this server keeps of the last state of the node's TPM is not readable, so the new state cannot be held \
         against it; if the machine is known to be good, `sekisho tpm approve {0}` on the server's side lets it begin \
         anew"
    )]
    Unreadable(Digest),
    #[error("the device of agent `{agent}` is another node, permanently")]
    DeviceTaken { agent: SpiffeId, withdrawn: Vec<IssuanceId> },
    /// It was removed, or its device is no longer allowed, since it showed its state.
    #[error("agent `{agent}` is not admitted: {reason}")]
    Overtaken { agent: SpiffeId, withdrawn: Vec<IssuanceId>, reason: Conflict },
    #[error("the attestation took longer than {0} s")]
    Slow(u64),
    #[error("the agent's node cannot show its state again")]
    NoState,
    #[error("the certificate signing request: {0}")]
    Csr(String),
    #[error("{error}")]
    Issue { agent: SpiffeId, error: IssueError },
    #[error("agent `{agent}` is banned, and attested")]
    Banned { agent: SpiffeId, withdrawn: Vec<IssuanceId> },
    /// Its SVID is in the log, and the database did not take the agent.
    #[error("agent `{agent}` was not registered: {error}")]
    Unregistered { agent: SpiffeId, withdrawn: Vec<IssuanceId>, error: JournalError },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Anyone may attest: the caller has no right that could expire.
impl From<Denied> for AttestError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Journal(error) => Self::Journal(error),
            denied => Self::Message(denied.to_string()),
        }
    }
}

impl From<StoreError> for AttestError {
    fn from(error: StoreError) -> Self {
        Self::Journal(error.into())
    }
}

impl From<Conflict> for AttestError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Token => Self::TokenUnknown,
            other => Self::Journal(other.into()),
        }
    }
}

impl Fault for AttestError {
    fn is_caller_fault(&self) -> bool {
        match self {
            Self::Silent | Self::Slow(_) | Self::Gone | Self::Unregistered { .. } | Self::Journal(_) => false,
            Self::Issue { error, .. } => error.is_caller_fault(),
            _ => true,
        }
    }

    fn log_message(&self) -> String {
        match self {
            Self::Denied { reason, .. } => format!("attestation denied: {reason}"),
            _ => self.to_string(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Issue { error, .. } => error.public_message(),
            _ => self.to_string(),
        }
    }

    fn concerns(&self) -> Option<&SpiffeId> {
        match self {
            Self::Issue { agent, .. }
            | Self::Banned { agent, .. }
            | Self::Denied { agent, .. }
            | Self::DeviceTaken { agent, .. }
            | Self::Overtaken { agent, .. }
            | Self::Unregistered { agent, .. } => Some(agent),
            _ => None,
        }
    }

    fn withdraws(&self) -> &[IssuanceId] {
        match self {
            Self::Issue { error, .. } => error.withdraws(),
            Self::Banned { withdrawn, .. }
            | Self::DeviceTaken { withdrawn, .. }
            | Self::Overtaken { withdrawn, .. }
            | Self::Unregistered { withdrawn, .. } => withdrawn,
            _ => &[],
        }
    }
}
