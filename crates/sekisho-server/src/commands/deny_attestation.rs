use std::time::Duration;

use sekisho_events::AttestationDenied;
use sekisho_evidence::node::DeniedNode;
use sekisho_runtime::metrics::registry::ATTESTATION_DETECT_SECONDS;
use sekisho_runtime::now;
use sekisho_store::{AlertRecord, AlertSeverity, Write};
use sekisho_types::{SpiffeId, UnixTime};

use super::agent_change::change_agent;
use super::attest_error::AttestError;
use crate::caller::ThisServer;
use crate::change::{Change, Facts};
use crate::command::{Changes, Command, WithdrawnIdentities};
use crate::domain::Shared;
use crate::journal::personal;
use crate::registration::RegistrationError;
use crate::run::Run;
use crate::shown_evidence;

/// Alerts that operators can list. Their leaves stay in the log.
const KEPT_ALERTS: usize = 10_000;
/// Of one agent, so that a node which is refused again and again hides no other. How many came before is counted.
const KEPT_OF_AGENT: usize = 20;
/// Characters of a reason. That of a boot has two digests, and how log and policy describe them.
const MAX_REASON: usize = 1000;

/// Withdraws a node whose state is refused: it is no longer attested, its SVIDs and those of its workloads are revoked,
/// and no identity leaves to it any more when this has run.
pub(crate) struct DenyAttestation {
    pub id: SpiffeId,
    /// What is recorded of it, and what operators see.
    pub event: AttestationDenied,
    pub alert: AlertRecord,
}

impl Changes for DenyAttestation {
    type Caller = ThisServer;
    type Reply = ();
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, _: &ThisServer) -> Result<Change<()>, RegistrationError> {
        let reason = "did not show the state that it has to be in";
        let change = change_agent(of, &self.id, self.event.clone(), reason, |node| Write::RemoveNode {
            id: node.id.clone(),
            at: now(),
        })?;
        Ok(change.write(listed(&self.alert)))
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        Some(WithdrawnIdentities::OfAgent(&self.id))
    }
}

pub(super) fn listed(alert: &AlertRecord) -> Write {
    Write::PutAlert { alert: alert.clone(), keep: KEPT_ALERTS, keep_of_agent: KEPT_OF_AGENT }
}

/// Withdraws an attested node. False if it is none any more: it was evicted meanwhile.
async fn withdraw(
    run: &Run<'_, ThisServer>,
    id: &SpiffeId,
    event: &AttestationDenied,
    alert: &AlertRecord,
) -> Result<bool, AttestError> {
    let withdrawal = DenyAttestation { id: id.clone(), event: event.clone(), alert: alert.clone() };
    match withdrawal.run(run).await {
        Ok(()) => Ok(true),
        Err(RegistrationError::Journal(error)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// Records that a node's state is refused, and withdraws the node if it was attested. Returns what it hears.
pub(super) async fn deny(domain: &Shared, denied: DeniedNode, attestor: &str) -> Result<AttestError, AttestError> {
    let DeniedNode { node: id, reason, heard, shown } = denied;
    let known = domain.view.read(|state| state.nodes.get(&id).cloned());
    let reason: String = reason.to_string().chars().take(MAX_REASON).collect();
    let raised = domain.streams.alerts.raise(|| domain.log.time());
    let good_at = known.as_ref().map(|node| node.attested_at).filter(|at| *at > UnixTime::default());
    let event = AttestationDenied {
        agent: personal(id.clone()),
        attestor: attestor.to_owned(),
        boot_policy_sha256: shown.as_ref().and_then(|shown| shown.boot_policy),
        evidence_sha256: shown.as_ref().map(|shown| shown.sha256),
        good_at,
        id: raised.id,
        reason: personal(reason.clone()),
    };
    let alert = AlertRecord {
        id: raised.id.to_string(),
        at: domain.log.time(),
        severity: AlertSeverity::Critical,
        kind: "attestation denied".to_owned(),
        agent: id.clone(),
        reason: reason.clone(),
        good_at,
        earlier: 0,
    };
    let evidence = shown.as_ref().map(|shown| tracing::field::display(shown.sha256));
    tracing::error!(agent = %id, attestor, reason, alert = alert.id, evidence, "attestation denied");
    if let Some(good_at) = good_at {
        let since = u64::try_from(alert.at.seconds_since(good_at)).unwrap_or(0);
        domain.watch.metrics.observe(&ATTESTATION_DETECT_SECONDS, &[], Duration::from_secs(since));
    }
    let own = Run { domain, caller: &ThisServer };
    let is_attested = known.is_some_and(|node| !node.banned);
    if !is_attested && !domain.limits.budgets.refusal(&id.to_string(), now()) {
        return Ok(AttestError::Denied { agent: id, reason, heard });
    }
    if !is_attested || !withdraw(&own, &id, &event, &alert).await? {
        let change = || Ok::<_, AttestError>(Change::with_reply(()).write(listed(&alert)).event(event.clone()));
        own.change(change).await?;
    }
    drop(raised);
    // After the node is withdrawn, whether or not what it showed can be kept.
    if let Some(shown) = shown
        && let Err(error) = shown_evidence::keep_refused(domain, &id, shown).await
    {
        tracing::error!(%error, agent = %id, "what a denied node showed was not kept");
    }
    Ok(AttestError::Denied { agent: id, reason, heard })
}
