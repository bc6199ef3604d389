use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Seconds, at most 604800.
    pub ttl: u32,
    /// 16 to 128 characters; drawn at random when absent.
    #[serde(default)]
    pub token: Option<String>,
    /// Name or SPIFFE ID of the agent that will attest with it; a new one when absent. An agent that joins again under
    /// its own ID keeps what is registered for it.
    #[serde(default)]
    pub agent_id: Option<String>,
}

/// A join token. It is shown here once and stored as a hash.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenForm {
    /// For listing and revoking it.
    pub id: String,
    pub token: String,
    /// The SPIFFE ID of the agent that will attest with it.
    pub agent_id: String,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
}

/// A token that was not used, without the token.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenRow {
    pub id: String,
    /// Absent if the ID holds the token, as those of earlier versions do.
    pub agent_id: Option<String>,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
    pub expired: bool,
}
