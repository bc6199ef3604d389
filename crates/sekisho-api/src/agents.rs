use sekisho_identity::Node;
use sekisho_types::{Digest, SpiffeId};
use serde::{Deserialize, Serialize};

use crate::FormError;

/// An attested agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AgentForm {
    pub id: String,
    pub attestation_type: String,
    pub svid_serial_number: String,
    /// Unix milliseconds.
    pub svid_expires_at_ms: i64,
    pub selectors: Vec<String>,
    pub banned: bool,
    pub can_reattest: bool,
    pub version: String,
}

impl From<&Node> for AgentForm {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.to_string(),
            attestation_type: node.attestation_type.clone(),
            svid_serial_number: node.serial.clone(),
            svid_expires_at_ms: node.expires_at.millis(),
            selectors: node.selectors.iter().map(ToString::to_string).collect(),
            banned: node.banned,
            can_reattest: node.can_reattest,
            version: node.version.clone(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AgentList {
    pub agents: Vec<AgentForm>,
}

/// Which agents: all, or the one with this SPIFFE ID, whose cost does not grow with the fleet.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct AgentsQuery {
    /// The agent's SPIFFE ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl AgentsQuery {
    pub fn spiffe_id(&self) -> Result<Option<SpiffeId>, FormError> {
        self.id.as_deref().map(parse_id).transpose()
    }
}

fn parse_id(text: &str) -> Result<SpiffeId, FormError> {
    SpiffeId::parse(text).map_err(|error| FormError::SpiffeId("id".to_owned(), error))
}

/// Names one agent.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct AgentRef {
    /// The agent's SPIFFE ID.
    pub id: String,
}

impl AgentRef {
    pub fn spiffe_id(&self) -> Result<SpiffeId, FormError> {
        parse_id(&self.id)
    }
}

/// Whose evidence, or which.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct EvidenceQuery {
    /// The agent's SPIFFE ID: what its node showed when it attested in full the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The SHA-256 by which a leaf names it, also that of a refused attestation. It takes precedence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl EvidenceQuery {
    pub fn digest(&self) -> Result<Option<Digest>, FormError> {
        let digest = |text: &String| {
            Digest::parse(text).map_err(|error| FormError::Digest("sha256".to_owned(), error.to_string()))
        };
        self.sha256.as_ref().map(digest).transpose()
    }

    /// # Errors
    /// It names no agent.
    pub fn spiffe_id(&self) -> Result<SpiffeId, FormError> {
        parse_id(self.id.as_deref().unwrap_or_default())
    }
}

/// What came of asking a node for its state.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AttestationForm {
    /// The agent's SPIFFE ID.
    pub id: String,
    /// If not, the node is no longer attested, and its SVIDs and its workloads' are revoked.
    pub accepted: bool,
    /// What differs from what the state has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
