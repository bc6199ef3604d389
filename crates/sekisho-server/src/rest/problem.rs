use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sekisho_api::{FormError, Problem};

use crate::commands::{ApplyError, AskStateError};
use crate::denied::Denied;
use crate::journal::JournalError;
use crate::queries::{CompileError, QueryError};
use crate::refusal::{Fault, Refusal};
use crate::registration::RegistrationError;

/// The answer to a request that was refused or failed.
#[derive(Debug)]
pub(crate) struct Refused(Problem);

impl Refused {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Problem { status: status.as_u16(), detail: detail.into(), conflict: None, code: None, message: None })
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// A refusal on a route of OPA's API, by OPA's code.
    fn with_opa_code(self, code: &str) -> Self {
        let Self(problem) = self;
        let message = Some(problem.detail.clone());
        Self(Problem { code: Some(code.to_owned()), message, ..problem })
    }

    /// Whether the failure is ours.
    pub(super) const fn is_ours(&self) -> bool {
        self.0.status >= 500
    }

    /// Our failure: the peer hears that, the log hears why.
    pub(super) fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "an operator's request failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server cannot do that now; its log says why")
    }
}

impl From<FormError> for Refused {
    fn from(error: FormError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<RegistrationError> for Refused {
    fn from(error: RegistrationError) -> Self {
        let detail = error.to_string();
        match error {
            RegistrationError::Exists(entry) => {
                let Self(problem) = Self::new(StatusCode::CONFLICT, detail);
                Self(Problem { conflict: Some(entry.id.as_str().to_owned()), ..problem })
            }
            RegistrationError::IdTaken(_) | RegistrationError::ChangedMeanwhile(_) | RegistrationError::Loosens(_) => {
                Self::new(StatusCode::CONFLICT, detail)
            }
            RegistrationError::NoEntry(_)
            | RegistrationError::NoAgent(_)
            | RegistrationError::NoToken(_)
            | RegistrationError::NoTpm(_) => Self::not_found(detail),
            RegistrationError::Denied(denied) => denied.into(),
            RegistrationError::Journal(error) => error.into(),
            _ => Self::invalid(detail),
        }
    }
}

impl<E> From<Refusal<E>> for Refused
where
    Self: From<E>,
{
    fn from(refusal: Refusal<E>) -> Self {
        refusal.into_error().into()
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Journal(error) => error.into(),
            Denied::TooLong(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, denied.to_string()),
            Denied::Slow(_) => Self::new(StatusCode::REQUEST_TIMEOUT, denied.to_string()),
            Denied::Incomplete => Self::invalid(denied.to_string()),
            denied => Self::forbidden(denied.to_string()),
        }
    }
}

impl From<AskStateError> for Refused {
    fn from(error: AskStateError) -> Self {
        match error {
            AskStateError::NoAgent(_) => Self::not_found(error.to_string()),
            AskStateError::NotConnected(_) | AskStateError::Silent(_) | AskStateError::Undecided { .. } => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            AskStateError::Denied(denied) => denied.into(),
            AskStateError::Journal(error) => error.into(),
        }
    }
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        error.contended().map_or_else(|| Self::unavailable(&error), |says| Self::new(StatusCode::CONFLICT, says))
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Sizes(_) => Self::invalid(error.to_string()),
            QueryError::TooManyFollow => Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()),
            QueryError::NotLogged(_)
            | QueryError::OlderLog { .. }
            | QueryError::NoDecision(_)
            | QueryError::NoEvidence(_)
            | QueryError::ForgottenEvidence(_)
            | QueryError::NoPolicy(_) => Self::not_found(error.to_string()),
            QueryError::DamagedLog(_)
            | QueryError::DamagedSegment(_)
            | QueryError::Unreadable(_)
            | QueryError::Store(_)
            | QueryError::Disk(_)
            | QueryError::BrokeOff(_) => Self::unavailable(&error),
        }
    }
}

impl From<CompileError> for Refused {
    fn from(error: CompileError) -> Self {
        match &error {
            CompileError::NoPolicy => Self::not_found(error.to_string()).with_opa_code("resource_not_found"),
            CompileError::Fault(fault) => Self::invalid(error.to_string()).with_opa_code(fault.code()),
            CompileError::Policy(_) | CompileError::BrokeOff(_) => {
                Self::unavailable(&error).with_opa_code("internal_error")
            }
        }
    }
}

/// An adapter's own fault: of the form of a request.
impl Fault for Refused {
    fn is_caller_fault(&self) -> bool {
        // A change by another operator is not a fault of this one.
        !self.is_ours() && self.0.status != StatusCode::CONFLICT.as_u16()
    }

    fn log_message(&self) -> String {
        self.0.detail.clone()
    }
}

impl From<ApplyError> for Refused {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Policy(error) => Self::invalid(error.to_string()),
            ApplyError::Denied(denied) => denied.into(),
            ApplyError::Journal(error) => error.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use sekisho_store::{Conflict, StoreError};

    use super::*;

    #[test]
    fn a_stale_change_is_answered_as_conflict() {
        let status = |error: JournalError| Refused::from(ApplyError::from(error)).0;
        let problem = status(Conflict::PolicyChanged.into());
        assert_eq!(problem.status, 409);
        assert!(problem.detail.contains("read it again and retry"), "{}", problem.detail);
        assert_eq!(status(StoreError::NotCommitted.into()).status, 503);
        assert_eq!(tonic::Status::from(JournalError::from(Conflict::PolicyChanged)).code(), tonic::Code::Aborted);
    }
}
