use serde::{Deserialize, Serialize};

/// What operators are alerted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AlertForm {
    /// For `sekisho prove`.
    pub id: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// `critical` or `warning`.
    pub severity: String,
    /// What happened, for example `attestation denied`.
    pub kind: String,
    /// The agent that it concerns.
    pub agent_id: String,
    /// What differs from what it has to be.
    pub reason: String,
    /// When its state was accepted last, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_at_ms: Option<i64>,
    /// Alerts of the same agent before this one that are no longer kept: of each agent, the newest 20 are.
    #[serde(default)]
    pub earlier: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct AlertsQuery {
    /// Those after the alert with this id, oldest first; without it, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most 1000; 50 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
