use sekisho_api::AlertForm;
use sekisho_store::AlertRecord;
use sekisho_types::UnixTime;

/// An alert as operators and their webhook read it.
pub(crate) fn alert_form(alert: AlertRecord) -> AlertForm {
    AlertForm {
        id: alert.id,
        at_ms: alert.at.millis(),
        severity: alert.severity.as_str().to_owned(),
        kind: alert.kind,
        agent_id: alert.agent.to_string(),
        reason: alert.reason,
        good_at_ms: alert.good_at.map(UnixTime::millis),
        earlier: alert.earlier,
    }
}
