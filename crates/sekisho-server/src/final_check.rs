//! The last check of an answer that holds identities: no identity is sent after its revocation was acknowledged
//! (law L6; decisions/0020).
//!
//! The gate checks an identity again before it is signed (`issue.rs`). Between the signature and the moment at which
//! the connection takes the answer, more time passes: other identities of the same batch, a busy runtime. So the answer
//! is checked once more when the connection takes it. A revocation is acknowledged when all answers that were taken
//! before it are sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_events::IssuanceId;
use sekisho_identity::{Entry, Node, Standing};
use sekisho_runtime::now;
use sekisho_types::{EntryId, SpiffeId};
use tokio::sync::watch;

use crate::recent::Generation;
use crate::standing::{SUPERSEDED, says};
use crate::view::View;

/// A peer that does not read what its connection has taken delays an acknowledgement no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// What a connection has taken is on the wire a moment later; no interface says when.
const ON_THE_WIRE: Duration = Duration::from_millis(10);

/// The identities in an answer: their agent, their entries, and the state at their last check.
#[derive(Clone)]
pub(crate) struct FinalCheck(Arc<Contents>);

struct Contents {
    agent: SpiffeId,
    serial: String,
    issued: Vec<Issued>,
}

/// One identity in an answer.
pub(crate) struct Issued {
    pub log_id: IssuanceId,
    /// None for the agent's own.
    pub entry: Option<Arc<Entry>>,
    pub judged_at: Generation,
}

impl FinalCheck {
    /// Identities for an agent that showed an SVID with this serial number.
    pub(crate) fn new(agent: SpiffeId, serial: String, issued: Vec<Issued>) -> Self {
        Self(Arc::new(Contents { agent, serial, issued }))
    }

    pub(crate) fn agent(&self) -> &SpiffeId {
        &self.0.agent
    }

    pub(crate) fn log_ids(&self) -> Vec<IssuanceId> {
        self.0.issued.iter().map(|issued| issued.log_id).collect()
    }

    pub(crate) fn is_for_agent(&self, agent: &SpiffeId) -> bool {
        self.0.agent == *agent
    }

    pub(crate) fn has_entry(&self, id: &EntryId) -> bool {
        self.0.issued.iter().any(|issued| issued.entry.as_ref().is_some_and(|entry| entry.id == *id))
    }

    /// Whether all of these identities could still be issued.
    pub(crate) fn judge(&self, view: &View, server_id: &SpiffeId) -> Result<(), WithholdReason> {
        let held = &*self.0;
        view.read(|state| {
            if held.issued.iter().all(|issued| issued.judged_at == state.generation) {
                return Ok(());
            }
            let node = state.nodes.get(&held.agent);
            let standing = Node::standing(node.map(AsRef::as_ref), &held.serial);
            let node = match (node, standing) {
                (Some(node), Standing::Good) => node,
                (_, Standing::Superseded) => return Err(WithholdReason::Superseded),
                _ => return Err(WithholdReason::Standing(standing)),
            };
            let serves = state.serves(node, server_id, now());
            let stands = |entry: &Arc<Entry>| {
                serves.contains(&entry.parent_id) && state.entries.get(&entry.id).is_some_and(|known| known == entry)
            };
            if held.issued.iter().filter_map(|issued| issued.entry.as_ref()).all(stands) {
                Ok(())
            } else {
                Err(WithholdReason::EntryChanged)
            }
        })
    }
}

/// Why signed identities are not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WithholdReason {
    #[error("{SUPERSEDED}")]
    Superseded,
    #[error("{}", says(*.0))]
    Standing(Standing),
    #[error("an entry changed while its identity was issued; ask again")]
    EntryChanged,
}

/// Answers that connections have taken and not yet sent.
pub(crate) struct PendingAnswers {
    open: Mutex<Open>,
    /// The lowest number that is open.
    oldest: watch::Sender<u64>,
}

#[derive(Default)]
struct Open {
    next: u64,
    answers: BTreeMap<u64, FinalCheck>,
}

impl PendingAnswers {
    pub(crate) fn new() -> Self {
        Self { open: Mutex::default(), oldest: watch::Sender::new(0) }
    }

    pub(crate) fn enter(&self, final_check: &FinalCheck) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.answers.insert(number, final_check.clone());
        number
    }

    pub(crate) fn leave(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&number);
        self.oldest.send_modify(|changes| *changes += 1);
    }

    /// Waits until the answers for which `concerned` is true are sent. A revocation waits here after the view has it
    /// and before it is acknowledged: answers that are taken later are checked against that view.
    pub(crate) async fn settle(&self, concerned: impl Fn(&FinalCheck) -> bool) {
        let mut changes = self.oldest.subscribe();
        let waiting: Vec<u64> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.answers.iter().filter(|(_, final_check)| concerned(final_check)).map(|(number, _)| *number).collect()
        };
        let still_open = || {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().any(|number| open.answers.contains_key(number))
        };
        let settled = changes.wait_for(|_| !still_open());
        if tokio::time::timeout(LONGEST_WAIT, settled).await.is_err() {
            tracing::warn!(
                "a peer does not read the identities that it asked for; its revocation is acknowledged all the same"
            );
        }
        tokio::time::sleep(ON_THE_WIRE).await;
    }
}
