//! Law L5 as a type: a refusal that a caller may see exists only together with the proof that it is on record. Both are
//! made here and nowhere else.

use std::sync::Arc;

use sekisho_events::{IssuanceId, IssuanceIds, RefusalId, Refused};
use sekisho_net::TlsPeer;
use sekisho_runtime::now;
use sekisho_types::SpiffeId;

use crate::domain::Domain;
use crate::journal::{JournalError, personal};

/// Characters of a reason.
const MAX_REASON: usize = 500;

/// Why something that was asked for is not done.
pub(crate) trait Fault: From<JournalError> {
    /// Whether the caller is at fault. What is ours, or passes, is not a refusal.
    fn is_caller_fault(&self) -> bool;

    /// What was wrong. It may quote what the caller sent.
    fn log_message(&self) -> String;

    /// The same for the program's log, which more people read than the openings of leaves.
    fn public_message(&self) -> String {
        self.log_message()
    }

    /// The agent that it concerns, if the caller proved to be one and its connection does not say so.
    fn concerns(&self) -> Option<&SpiffeId> {
        None
    }

    /// Issuances that have their leaf and do not leave.
    fn withdraws(&self) -> &[IssuanceId] {
        &[]
    }

    /// Whether the limit on what the caller puts into the log is the reason. Then it puts no leaf there.
    fn is_beyond_budget(&self) -> bool {
        false
    }
}

/// A failure of ours is not a refusal.
impl Fault for JournalError {
    fn is_caller_fault(&self) -> bool {
        false
    }

    fn log_message(&self) -> String {
        self.to_string()
    }
}

/// Who gets the refusal.
#[derive(Clone, Copy)]
pub(crate) enum RefusedParty<'a> {
    /// A caller on the local socket administers this machine: what it is refused concerns no peer.
    Local,
    Peer(&'a Arc<TlsPeer>),
    /// An agent that was admitted, or proved to be one.
    Agent(&'a SpiffeId),
    /// This server.
    Own,
}

/// Proof that something is on record: a leaf of its own, or a place in a count that becomes a leaf; or that there is
/// nothing to record, since the caller is not at fault.
#[derive(Debug)]
struct Recorded(());

/// What a caller hears in place of an answer.
#[derive(Debug)]
pub(crate) struct Refusal<E> {
    error: E,
    _proof: Recorded,
}

impl<E> Refusal<E> {
    pub(crate) fn into_error(self) -> E {
        self.error
    }
}

/// Puts a fault on record, if it is the caller's. If that fails, the caller hears of the failure in its place.
pub(crate) async fn record<E: Fault>(domain: &Domain, whom: RefusedParty<'_>, fault: E) -> Refusal<E> {
    match proof(domain, whom, &fault).await {
        Ok(proof) => Refusal { error: fault, _proof: proof },
        Err(error) => {
            tracing::error!(%error, "a refusal was not logged");
            Refusal { error: error.into(), _proof: Recorded(()) }
        }
    }
}

async fn proof(domain: &Domain, whom: RefusedParty<'_>, fault: &impl Fault) -> Result<Recorded, JournalError> {
    let whom = fault.concerns().map_or(whom, RefusedParty::Agent);
    // The withdrawal of an issuance is logged in any case.
    if !fault.withdraws().is_empty() {
        return leaf(domain, whom, fault).await;
    }
    if !fault.is_caller_fault() {
        return Ok(Recorded(()));
    }
    let limits = &domain.limits;
    match whom {
        RefusedParty::Local => Ok(Recorded(())),
        RefusedParty::Own => leaf(domain, whom, fault).await,
        RefusedParty::Peer(peer) if limits.refusals.admits(peer) => leaf(domain, whom, fault).await,
        RefusedParty::Peer(_) => {
            limits.refusals.count(1);
            Ok(Recorded(()))
        }
        RefusedParty::Agent(id) => {
            let id = id.to_string();
            if !fault.is_beyond_budget() && limits.budgets.refusal(&id, now()) {
                return leaf(domain, whom, fault).await;
            }
            limits.refusals.count_of_agent(&id, 1);
            Ok(Recorded(()))
        }
    }
}

/// A leaf that says what was refused to whom, durable when this returns.
async fn leaf(domain: &Domain, whom: RefusedParty<'_>, fault: &impl Fault) -> Result<Recorded, JournalError> {
    let (caller, says) = (name(whom), fault.log_message());
    let withdrawn = fault.withdraws();
    let refused = Refused {
        caller: personal(caller.clone()),
        id: RefusalId::new(domain.log.new_id()),
        reason: personal(says.chars().take(MAX_REASON).collect()),
        withdrawn: (!withdrawn.is_empty()).then(|| IssuanceIds(withdrawn.to_vec())),
    };
    let index = domain.journal().append(refused).await?;
    let reason: String = fault.public_message().chars().take(MAX_REASON).collect();
    tracing::info!(caller, reason, withdrawn = withdrawn.len(), index, "refused");
    Ok(Recorded(()))
}

fn name(whom: RefusedParty<'_>) -> String {
    match whom {
        RefusedParty::Local => "local socket".to_owned(),
        RefusedParty::Peer(peer) => match &peer.leaf {
            Some(leaf) => leaf.get().spiffe_id.to_string(),
            None => peer.address.to_string(),
        },
        RefusedParty::Agent(id) => id.to_string(),
        RefusedParty::Own => "server".to_owned(),
    }
}
