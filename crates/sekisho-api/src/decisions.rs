use sekisho_events::{NodeEvent, NodeEventError};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct DecisionsQuery {
    /// `allow`, `deny` or `refusal`.
    pub effect: Option<String>,
    /// Only older ones than the one with this id, to go on from page to page.
    pub before: Option<String>,
    /// At most 1000; 50 by default.
    pub limit: Option<u32>,
}

/// A record and its place in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DecisionForm {
    pub id: String,
    pub at_ms: i64,
    pub effect: String,
    pub log_index: u64,
    /// The record as it was made, in canonical JSON.
    pub record: serde_json::Value,
}

impl DecisionForm {
    /// What the record says.
    pub fn read(&self) -> Result<NodeEvent, NodeEventError> {
        NodeEvent::from_json(&self.record)
    }
}
