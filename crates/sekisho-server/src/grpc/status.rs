//! Statuses and messages that several services answer with.

use sekisho_identity::{Refusal, Standing};
use sekisho_proto::{id_to_wire, types};
use tonic::{Code, Status};

use crate::issue::{IssueError, IssuedX509};
use crate::standing::denied;

pub(super) fn issue_status(error: &IssueError) -> Status {
    let refusal = match error {
        IssueError::Refused(refusal) => refusal,
        IssueError::Superseded => return Status::aborted(error.to_string()),
        _ => return unissued(error),
    };
    let status = |code| Status::new(code, error.to_string());
    match refusal {
        Refusal::AgentBanned(_) => denied(Standing::Banned),
        Refusal::AgentUnknown(_) => denied(Standing::Unknown),
        Refusal::AgentSuperseded(_) => denied(Standing::Superseded),
        Refusal::EntryChanged(_) => status(Code::Aborted),
        Refusal::ForeignEntry(_) | Refusal::EntryExpired(_) => status(Code::NotFound),
        Refusal::EvidenceEnded => status(Code::InvalidArgument),
        Refusal::CsrName(_) | Refusal::Audience => status(Code::InvalidArgument),
        Refusal::AuthorityEnded => status(Code::Unavailable),
        // A clock that is wrong is no decision against the process.
        Refusal::EvidenceStale(_) | Refusal::EvidenceAhead(_) => status(Code::FailedPrecondition),
        _ => status(Code::PermissionDenied),
    }
}

fn unissued(error: &IssueError) -> Status {
    if let IssueError::Budget(_) = error {
        return Status::resource_exhausted(error.to_string());
    }
    if let IssueError::Form(_) = error {
        return Status::invalid_argument(error.to_string());
    }
    tracing::error!(%error, "could not issue");
    Status::unavailable("the server cannot issue now; its log says why")
}

pub(super) fn svid_to_wire(issued: &IssuedX509, hint: &str) -> types::X509svid {
    types::X509svid {
        cert_chain: vec![issued.certificate.clone()],
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
