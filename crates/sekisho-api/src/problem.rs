use serde::{Deserialize, Serialize};

/// A refusal or failure (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What was wrong and, where there is something to be done, what.
    pub detail: String,
    /// The entry that stands in the way, for a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// OPA's code of the error, on a route of OPA's API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The detail, under the name that clients of OPA look for, on a route of OPA's API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
