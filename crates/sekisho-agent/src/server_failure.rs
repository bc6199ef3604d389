//! How a call to the server failed, as far as the agent acts on it.

use sekisho_proto::status_reason;
use sekisho_proto::types::permission_denied_details::Reason;
use tonic::{Code, Status};

/// A call to the server that gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server: {message}")]
pub struct ServerFailure {
    pub(crate) kind: Kind,
    /// What the server says an agent should do about itself.
    reason: Option<Reason>,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Denied,
    NotFound,
    Invalid,
    /// A share is used up.
    Exhausted,
    /// What was asked for changed meanwhile.
    Passed,
    /// A server of SPIRE's lacks our own services.
    Unimplemented,
    /// It did not answer, or not in a form that is understood.
    Outage,
}

impl ServerFailure {
    pub(crate) fn outage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Outage, reason: None, message: message.into() }
    }

    /// Of one item of a batch.
    pub(crate) fn of_item(code: i32, message: String) -> Self {
        Self::from(Status::new(Code::from_i32(code), message))
    }

    pub(crate) fn late(_: tokio::time::error::Elapsed) -> Self {
        Self::outage("the server did not answer in time")
    }

    /// Whether the server has decided against it.
    pub(crate) fn is_refusal(&self) -> bool {
        !self.has_passed() && matches!(self.kind, Kind::Denied | Kind::NotFound | Kind::Invalid)
    }

    /// What was asked on the connection of an SVID that has been replaced since, or for an entry that changed
    /// meanwhile.
    pub(crate) fn has_passed(&self) -> bool {
        self.kind == Kind::Passed || self.reason == Some(Reason::AgentNotActive)
    }

    pub(crate) fn denies_state(&self) -> bool {
        self.kind == Kind::Denied && self.reason.is_none()
    }

    pub(crate) fn must_reattest(&self) -> bool {
        let again = [Reason::AgentExpired, Reason::AgentNotAttested, Reason::AgentNotActive, Reason::AgentMustReattest];
        self.reason.is_some_and(|reason| again.contains(&reason))
    }

    pub(crate) fn is_banned(&self) -> bool {
        self.reason == Some(Reason::AgentBanned)
    }

    /// Refused for what was shown, and for nothing that the agent is.
    pub(crate) fn refuses_proof(&self) -> bool {
        matches!(self.kind, Kind::Invalid | Kind::Denied) && self.reason.is_none()
    }
}

impl From<Status> for ServerFailure {
    fn from(status: Status) -> Self {
        let kind = match status.code() {
            Code::PermissionDenied => Kind::Denied,
            Code::NotFound => Kind::NotFound,
            Code::InvalidArgument => Kind::Invalid,
            Code::ResourceExhausted => Kind::Exhausted,
            Code::Aborted => Kind::Passed,
            Code::Unimplemented => Kind::Unimplemented,
            _ => Kind::Outage,
        };
        Self { kind, reason: status_reason(&status), message: status.message().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use sekisho_proto::reason_status;

    use super::*;

    #[test]
    fn law_l14_an_outage_is_not_a_refusal() {
        for outage in [Status::unavailable("x"), Status::internal("x"), Status::deadline_exceeded("x")] {
            assert!(!ServerFailure::from(outage).is_refusal());
        }
        for refused in [Status::permission_denied("x"), Status::not_found("x"), Status::invalid_argument("x")] {
            assert!(ServerFailure::from(refused).is_refusal());
        }
        // Asked on a connection that the agent is leaving.
        let passed = [Status::aborted("x"), reason_status("x", Reason::AgentNotActive)];
        assert!(passed.into_iter().map(ServerFailure::from).all(|it| it.has_passed() && !it.is_refusal()));
        let banned = ServerFailure::from(reason_status("x", Reason::AgentBanned));
        assert!(banned.is_banned() && banned.is_refusal() && !banned.must_reattest() && !banned.refuses_proof());
        assert!(ServerFailure::from(Status::invalid_argument("token")).refuses_proof());
    }
}
