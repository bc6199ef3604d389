//! Refusals as gRPC says them. Nothing below the services knows a status.

use sekisho_net::on_record;
use tonic::{Code, Status};

use crate::refusal::Refusal;
use crate::server_failure::Kind;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Recorded { what, id } => on_record(Self::from(*what), id.as_deref()),
            Refusal::NoIdentity { ref record, .. } => on_record(denied(&refusal), record.as_deref()),
            Refusal::Stopped(_) => on_record(denied(&refusal), None),
            other => Self::new(code(&other), other.to_string()),
        }
    }
}

fn denied(refusal: &Refusal) -> Status {
    Status::permission_denied(refusal.to_string())
}

fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Stopped(_)
        | Refusal::UnknownCaller
        | Refusal::OtherExecutable
        | Refusal::OtherUser
        | Refusal::Changed
        | Refusal::Closed
        | Refusal::Unmeasured(_)
        | Refusal::UnknownHolder(_)
        | Refusal::Inherited
        | Refusal::NotHeld
        | Refusal::HeldByOther(_)
        | Refusal::Hidden(_)
        | Refusal::NoIdentity { .. }
        | Refusal::NoSuchId
        | Refusal::NoSidecar(_)
        | Refusal::UnknownSidecar(_)
        | Refusal::OtherGroup(_)
        | Refusal::OtherId { .. }
        | Refusal::NoTpm(_)
        | Refusal::KeyStays(_)
        | Refusal::NotDelegated => Code::PermissionDenied,
        Refusal::Streams(_) | Refusal::TokenShare(_) | Refusal::SvidShare(_) | Refusal::Signatures => {
            Code::ResourceExhausted
        }
        Refusal::Token(_) | Refusal::SeveralIds(_) | Refusal::NoHandshake => Code::InvalidArgument,
        Refusal::Measuring
        | Refusal::RevocationsUnknown
        | Refusal::RevokedMeanwhile(_)
        | Refusal::Behind(_)
        | Refusal::TpmBusy
        | Refusal::Tpm(_) => Code::Unavailable,
        Refusal::Failed(_) => Code::Internal,
        Refusal::Server(failure) => match failure.kind {
            Kind::Denied => Code::PermissionDenied,
            Kind::NotFound => Code::NotFound,
            Kind::Invalid => Code::InvalidArgument,
            Kind::Exhausted => Code::ResourceExhausted,
            Kind::Passed => Code::Aborted,
            Kind::Unimplemented => Code::Unimplemented,
            Kind::Outage => Code::Unavailable,
        },
        Refusal::Recorded { what, .. } => code(what),
    }
}

/// What a workload hears of a failure: the codes of SPIFFE_Workload_API.md §4, without the server's inside.
pub(crate) fn outward(refusal: Refusal) -> Status {
    let Refusal::Server(failure) = &refusal else {
        let was_revoked = matches!(refusal, Refusal::RevokedMeanwhile(_));
        return if was_revoked { unreachable_server() } else { Status::from(refusal) };
    };
    match failure.kind {
        // The server has it in its log.
        Kind::Denied | Kind::NotFound => {
            on_record(Status::permission_denied("no identity issued: the server refused"), None)
        }
        Kind::Invalid => on_record(Status::from(refusal), None),
        // Either this user's share is used up, or the node's: each says which.
        Kind::Exhausted => Status::from(refusal),
        Kind::Passed | Kind::Unimplemented | Kind::Outage => unreachable_server(),
    }
}

fn unreachable_server() -> Status {
    Status::unavailable("the server cannot be reached and nothing valid is held; try again")
}

#[cfg(test)]
mod tests {
    use sekisho_net::is_unrecorded;

    use super::*;
    use crate::server_failure::ServerFailure;

    #[test]
    fn what_is_on_record_is_not_recorded_again() {
        let status = |refusal: Refusal| Status::from(refusal);
        assert!(is_unrecorded(&status(Refusal::NotHeld)) && is_unrecorded(&status(Refusal::Streams(7))));
        assert!(!is_unrecorded(&status(Refusal::stopped("gone"))));
        assert!(!is_unrecorded(&status(Refusal::NotHeld.on_record())));
        let none = Refusal::NoIdentity { pid: 7, record: Some("ref_1".into()) };
        let text = "no identity issued; `sekisho why ref_1` says why";
        assert_eq!((none.to_string().as_str(), is_unrecorded(&status(none))), (text, false));
        let unrecorded = Refusal::NoIdentity { pid: 7, record: None };
        assert_eq!(unrecorded.to_string(), "no identity issued; `sekisho why identity --pid 7` says why");
    }

    #[test]
    fn internal_errors_of_the_server_are_hidden() {
        let heard = |status: Status| outward(Refusal::from(ServerFailure::from(status)));
        for inside in [Status::permission_denied("secret"), Status::not_found("secret")] {
            let heard = heard(inside);
            assert_eq!((heard.code(), heard.message().contains("secret")), (Code::PermissionDenied, false));
            assert!(!is_unrecorded(&heard));
        }
        assert_eq!(heard(Status::internal("secret")).code(), Code::Unavailable);
        assert_eq!(heard(Status::resource_exhausted("share")).message(), "share");
    }
}
