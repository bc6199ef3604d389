use sekisho_events::{AlertId, AttestationDenied};
use sekisho_runtime::now;
use sekisho_store::Write;
use sekisho_types::{SpiffeId, UnixTime};

use super::agent_change::change_agent;
use super::attest_error::AttestError;
use crate::caller::ThisServer;
use crate::change::{Change, Facts};
use crate::command::{Changes, WithdrawnIdentities};
use crate::domain::Domain;
use crate::executor::execute_own;
use crate::journal::{JournalError, personal};
use crate::registration::RegistrationError;

/// Characters of a reason.
const MAX_REASON: usize = 500;

/// Withdraws a node whose state is refused: it is no longer attested, its SVIDs and those of its workloads are revoked,
/// and no identity leaves to it any more when this has run.
pub(crate) struct DenyAttestation {
    pub id: SpiffeId,
    /// What is recorded of it.
    pub event: AttestationDenied,
}

impl Changes for DenyAttestation {
    type Caller = ThisServer;
    type Reply = ();
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, _: &ThisServer) -> Result<Change<()>, RegistrationError> {
        let reason = "did not show the state that it has to be in";
        change_agent(of, &self.id, self.event.clone(), reason, |node| Write::RemoveNode(node.id.clone()))
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        Some(WithdrawnIdentities::OfAgent(&self.id))
    }
}

/// Records that a node's state is refused, and withdraws the node if it was attested. Returns what it is told.
pub(super) async fn deny(
    domain: &Domain,
    id: SpiffeId,
    attestor: &str,
    reason: String,
) -> Result<AttestError, JournalError> {
    let known = domain.view.read(|state| state.nodes.get(&id).cloned());
    let event = AttestationDenied {
        agent: personal(id.clone()),
        attestor: attestor.to_owned(),
        good_at: known.as_ref().map(|node| node.attested_at).filter(|at| *at > UnixTime::default()),
        id: AlertId::new(domain.log.new_id()),
        reason: personal(reason.chars().take(MAX_REASON).collect()),
    };
    tracing::error!(agent = %id, attestor, reason, "attestation denied");
    if known.is_some_and(|node| !node.banned) {
        let denied = execute_own(domain, DenyAttestation { id: id.clone(), event: event.clone() }).await;
        match denied.map_err(crate::refusal::Refusal::into_error) {
            Ok(()) => {}
            Err(RegistrationError::Journal(error)) => return Err(error),
            // It was evicted meanwhile.
            Err(_) => drop(domain.journal().append(event).await?),
        }
    } else if domain.limits.budgets.refusal(&id.to_string(), now()) {
        domain.journal().append(event).await?;
    }
    Ok(AttestError::Denied { agent: id, reason })
}
