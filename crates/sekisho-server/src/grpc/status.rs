//! How gRPC says what a command refused, by SPIRE's codes where it has the same.

use sekisho_evidence::node::NodeError;
use sekisho_identity::{Refusal, Standing};
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_proto::{id_to_wire, reason_status, types};
use sekisho_store::Conflict;
use tonic::{Code, Status};

use crate::commands::{AttestError, RenewError};
use crate::denied::Denied;
use crate::final_check::WithholdReason;
use crate::issue::IssueError;
use crate::issue_x509::IssuedX509;
use crate::journal::JournalError;
use crate::record::RecordError;
use crate::registration::RegistrationError;
use crate::standing::says;
use crate::withheld::Withheld;

/// The status for an agent that does not stand well.
pub(crate) fn denied(standing: Standing) -> Status {
    let reason = match standing {
        Standing::Banned => Reason::AgentBanned,
        Standing::Superseded => Reason::AgentNotActive,
        Standing::Unknown | Standing::Good => Reason::AgentNotAttested,
    };
    reason_status(says(standing), reason)
}

/// Ours, or something that passes: the peer hears that, the log of the program hears why.
fn unavailable(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "a call failed");
    Status::unavailable("the server cannot do that now; its log says why")
}

impl From<JournalError> for Status {
    fn from(error: JournalError) -> Self {
        error.contended().map_or_else(|| unavailable(&error), Self::aborted)
    }
}

impl From<Denied> for Status {
    fn from(denied_: Denied) -> Self {
        let says = denied_.to_string();
        match denied_ {
            Denied::Expired => reason_status(&says, Reason::AgentExpired),
            Denied::MustAttest => reason_status(&says, Reason::AgentNotAttested),
            Denied::Standing(standing) => denied(standing),
            Denied::NoOperator | Denied::Host | Denied::NoRow | Denied::NoSvid | Denied::NoAgent => {
                Self::permission_denied(says)
            }
            // It passes when the node shows its state.
            Denied::Silent(_) => Self::failed_precondition(says),
            Denied::TooLong(_) => Self::out_of_range(says),
            Denied::Slow(_) => Self::deadline_exceeded(says),
            Denied::Incomplete => Self::cancelled(says),
            Denied::Journal(error) => error.into(),
        }
    }
}

impl From<Withheld> for Status {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Judged { cause: WithholdReason::Standing(standing), .. } => denied(standing),
            Withheld::Judged { cause, .. } => Self::aborted(cause.to_string()),
            Withheld::Journal(error) => error.into(),
        }
    }
}

impl From<IssueError> for Status {
    fn from(error: IssueError) -> Self {
        let says = error.to_string();
        match error {
            IssueError::Withdrawn { why, .. } => Self::from(*why),
            IssueError::Denied(denied) => denied.into(),
            IssueError::Refused(refusal) => gate_status(&refusal, says),
            IssueError::NoEntry(_) => Self::not_found(says),
            IssueError::Malformed(_) | IssueError::Csr(_) | IssueError::Evidence(_) | IssueError::Form(_) => {
                Self::invalid_argument(says)
            }
            IssueError::Key(_) | IssueError::CertificationUsed => Self::permission_denied(says),
            IssueError::Superseded => Self::aborted(says),
            IssueError::Budget(_) => Self::resource_exhausted(says),
            IssueError::Authority(_) | IssueError::Journal(_) => unavailable(&says),
        }
    }
}

fn gate_status(refusal: &Refusal, says: String) -> Status {
    let code = match refusal {
        Refusal::AgentBanned(_) => return denied(Standing::Banned),
        Refusal::AgentUnknown(_) => return denied(Standing::Unknown),
        Refusal::AgentSuperseded(_) => return denied(Standing::Superseded),
        Refusal::EntryChanged(_) => Code::Aborted,
        Refusal::ForeignEntry(_) | Refusal::EntryExpired(_) => Code::NotFound,
        Refusal::EvidenceExpired | Refusal::CsrName(_) | Refusal::Audience => Code::InvalidArgument,
        Refusal::AuthorityExpired => Code::Unavailable,
        // A wrong clock is not a decision against the process.
        Refusal::EvidenceStale(_) | Refusal::EvidenceAhead(_) => Code::FailedPrecondition,
        _ => Code::PermissionDenied,
    };
    Status::new(code, says)
}

impl From<AttestError> for Status {
    fn from(error: AttestError) -> Self {
        let says = error.to_string();
        match error {
            AttestError::TooMany | AttestError::Busy => Self::resource_exhausted(says),
            AttestError::Silent | AttestError::Slow(_) => Self::deadline_exceeded(says),
            AttestError::Gone => Self::cancelled(says),
            AttestError::Node(NodeError::Off(..)) => Self::permission_denied(says),
            // SPIRE's code for a token that is used or expired, too.
            AttestError::Message(_)
            | AttestError::TooLong
            | AttestError::TokenUnknown
            | AttestError::TokenExpired
            | AttestError::UnknownAttestor { .. }
            | AttestError::Csr(_)
            | AttestError::Node(_) => Self::invalid_argument(says),
            AttestError::NoState => reason_status(&says, Reason::AgentMustReattest),
            AttestError::Denied { .. }
            | AttestError::Unapproved(_)
            | AttestError::Unreadable(_)
            | AttestError::DeviceTaken { .. }
            | AttestError::Overtaken { .. } => Self::permission_denied(says),
            AttestError::Banned { .. } => denied(Standing::Banned),
            AttestError::Issue { error, .. } => error.into(),
            AttestError::Journal(error) | AttestError::Unregistered { error, .. } => error.into(),
        }
    }
}

impl From<RenewError> for Status {
    fn from(error: RenewError) -> Self {
        let says = error.to_string();
        match error {
            RenewError::MustReattest => reason_status(&says, Reason::AgentMustReattest),
            RenewError::Changed { denied, .. } => denied.into(),
            RenewError::Issue(error) => error.into(),
        }
    }
}

impl From<RecordError> for Status {
    fn from(error: RecordError) -> Self {
        let says = error.to_string();
        match error {
            RecordError::Conflict(Conflict::Standing { standing, .. }) => denied(standing),
            RecordError::Journal(_) | RecordError::Store(_) | RecordError::Disk(_) | RecordError::Conflict(_) => {
                unavailable(&says)
            }
            RecordError::Denied(denied) => denied.into(),
            // Its spool keeps them and sends them again.
            RecordError::Budget => Self::resource_exhausted(says),
            RecordError::TooLarge
            | RecordError::Form(_)
            | RecordError::Ahead
            | RecordError::Behind(_)
            | RecordError::Foreign(_)
            | RecordError::Key => Self::invalid_argument(says),
        }
    }
}

impl From<RegistrationError> for Status {
    fn from(error: RegistrationError) -> Self {
        let code = match error {
            RegistrationError::Exists(_) | RegistrationError::IdTaken(_) => Code::AlreadyExists,
            RegistrationError::NoEntry(_) | RegistrationError::NoAgent(_) | RegistrationError::NoTpm(_) => {
                Code::NotFound
            }
            RegistrationError::Denied(denied) => return denied.into(),
            RegistrationError::Journal(error) => return error.into(),
            _ => Code::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) fn svid_to_wire(issued: &IssuedX509, hint: &str) -> types::X509svid {
    types::X509svid {
        cert_chain: vec![issued.identity.der.clone()],
        id: Some(id_to_wire(&issued.spiffe_id)),
        expires_at: issued.not_after.seconds(),
        hint: hint.to_owned(),
    }
}

pub(super) fn result_to_wire<T>(result: Result<T, Status>) -> (types::Status, Option<T>) {
    match result {
        Ok(value) => (types::Status { code: Code::Ok as i32, message: "OK".into() }, Some(value)),
        Err(status) => (types::Status { code: status.code() as i32, message: status.message().to_owned() }, None),
    }
}
