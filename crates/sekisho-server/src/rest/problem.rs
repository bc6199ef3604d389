use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::registration::RegistrationError;

/// A refusal or failure (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The HTTP status.
    status: u16,
    /// What was wrong and, where there is something to be done, what.
    detail: String,
    /// The entry that stands in the way, for a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<String>,
}

impl Problem {
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status: status.as_u16(), detail: detail.into(), conflict: None }
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

    /// Our failure: the peer hears that, the log hears why.
    pub(super) fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "an operator's request failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server cannot do that now; its log says why")
    }
}

impl From<RegistrationError> for Problem {
    fn from(error: RegistrationError) -> Self {
        let detail = error.to_string();
        match error {
            RegistrationError::Exists(entry) => {
                let mut problem = Self::new(StatusCode::CONFLICT, detail);
                problem.conflict = Some(entry.id.as_str().to_owned());
                problem
            }
            RegistrationError::IdTaken(_) | RegistrationError::ChangedMeanwhile(_) | RegistrationError::Loosens(_) => {
                Self::new(StatusCode::CONFLICT, detail)
            }
            RegistrationError::NoEntry(_) | RegistrationError::NoAgent(_) | RegistrationError::NoToken(_) => {
                Self::not_found(detail)
            }
            RegistrationError::Journal(error) => Self::unavailable(&error),
            _ => Self::invalid(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}
