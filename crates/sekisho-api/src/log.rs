use serde::{Deserialize, Serialize};

/// The log's newest checkpoint and the key that signs it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogForm {
    /// Signed note (c2sp.org/tlog-checkpoint).
    pub checkpoint: String,
    /// The newest checkpoint that the configured witnesses have cosigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<String>,
    /// `name+hash+base64`.
    pub verifier_key: String,
    /// A trust policy (c2sp.org/tlog-policy) for the `--trust-policy` of `sekisho verify`.
    pub trust_policy: String,
}

/// The path between two sizes of the log.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConsistencyForm {
    pub old_size: u64,
    pub new_size: u64,
    /// Hashes in base64 (RFC 6962 §2.1.2).
    pub path: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct IdentitiesQuery {
    /// At most 1000; 50 by default.
    pub limit: Option<u32>,
}

/// An attestation or an issuance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct IdentityForm {
    /// For `sekisho prove`.
    pub id: String,
    pub at_ms: i64,
    pub kind: String,
    pub spiffe_id: String,
    /// When an SVID ends, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_ms: Option<i64>,
    pub log_index: u64,
}
