use std::time::Duration;

use sekisho_api::DrillKind;
use sekisho_events::{AlertId, DrillPlayed};
use sekisho_store::{AlertRecord, AlertSeverity};
use sekisho_types::SpiffeId;

use super::ask_state::AskStateError;
use super::deny_attestation::listed;
use crate::caller::Operator;
use crate::change::Change;
use crate::command::Command;
use crate::journal::personal;
use crate::run::Run;
use crate::state_checks::DrillOutcome;

/// The node is asked once or twice, and a TPM takes a second for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays an attack with the answers of a connected node, and alerts to what came of it as if it had been one. The node
/// stays attested.
pub(crate) struct RunDrill {
    pub id: SpiffeId,
    pub kind: DrillKind,
}

pub(crate) struct DrillReport {
    /// Why the attack was refused, and how soon; `None` if it passed.
    pub refused: Option<(String, Duration)>,
    pub alert: String,
}

impl Command for RunDrill {
    type Caller = Operator;
    type Reply = DrillReport;
    type Error = AskStateError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<DrillReport, AskStateError> {
        let Self { id, kind } = self;
        let domain = run.domain;
        if domain.view.read(|state| !state.nodes.contains_key(&id)) {
            return Err(AskStateError::NoAgent(id));
        }
        let Some(outcome) = domain.streams.state_checks.drill(&id, kind) else {
            return Err(AskStateError::NotConnected(id));
        };
        let refused = match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(DrillOutcome::Refused(reason, after))) => Some((reason, after)),
            Ok(Ok(DrillOutcome::Accepted)) => None,
            Ok(Ok(DrillOutcome::NotTried(reason))) => return Err(AskStateError::Undecided { agent: id, reason }),
            Ok(Err(_)) => return Err(AskStateError::NotConnected(id)),
            Err(_) => return Err(AskStateError::Silent(id)),
        };
        let raised = domain.streams.alerts.raise(|| domain.log.time());
        let reason = refused.as_ref().map(|(reason, _)| reason.as_str());
        let (alert, event) = recorded(run, raised.id, (&id, kind), reason);
        let change = || Ok::<_, AskStateError>(Change::with_reply(()).write(listed(&alert)).event(event.clone()));
        run.change(change).await?;
        drop(raised);
        Ok(DrillReport { refused, alert: alert.id })
    }
}

/// What operators are alerted to, and its record.
fn recorded(
    run: &Run<'_, Operator>,
    alert_id: AlertId,
    (id, kind): (&SpiffeId, DrillKind),
    refused: Option<&str>,
) -> (AlertRecord, DrillPlayed) {
    let severity = if refused.is_some() { AlertSeverity::Warning } else { AlertSeverity::Critical };
    let what = refused.unwrap_or("the attack passed: the server takes what it has to refuse");
    let alert = AlertRecord {
        id: alert_id.to_string(),
        at: run.domain.log.time(),
        severity,
        kind: format!("drill {kind}"),
        agent: id.clone(),
        reason: what.to_owned(),
        good_at: None,
        earlier: 0,
    };
    let event = DrillPlayed {
        agent: personal(id.clone()),
        by: personal(run.caller.name().to_owned()),
        drill: kind.to_string(),
        id: alert_id,
        reason: refused.map(|reason| personal(reason.to_owned())),
    };
    (alert, event)
}
