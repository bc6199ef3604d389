use sekisho_types::Digest;
use serde::{Deserialize, Serialize};

use crate::FormError;

/// A TPM by which a node attested, that an operator allowed, or that waits for it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TpmRow {
    /// SHA-256 of its endorsement key.
    pub ek: String,
    /// The agent that it is, permanently; absent if it has not attested.
    pub agent_id: Option<String>,
    /// The operator who allowed it, where no configured authority vouches for it.
    pub approved_by: Option<String>,
    /// What its endorsement certificate states. Without an authority that vouches for it, anyone may have written it.
    pub about: String,
    /// When it showed last that it holds its key, in Unix milliseconds; 0 if it never did.
    pub seen_at_ms: i64,
    /// When an operator took its approval back, in Unix milliseconds; absent if it was allowed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<i64>,
}

/// Names one TPM.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct TpmRef {
    /// SHA-256 of its endorsement key, in hexadecimal.
    pub ek: String,
}

impl TpmRef {
    pub fn digest(&self) -> Result<Digest, FormError> {
        Digest::parse(&self.ek).map_err(|error| FormError::Digest("ek".to_owned(), error.to_string()))
    }
}
