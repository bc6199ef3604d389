//! Nothing that was issued leaves after a revocation was acknowledged (law L6; decisions/0020).
//!
//! An identity is judged a second time before it is signed (`issue.rs`). Between the signature and the moment at which
//! the connection takes the answer lies more waiting: other identities of the same batch, a busy runtime. So the answer
//! is judged once more when the connection takes it, and a revocation is acknowledged when the answers that were taken
//! before are gone.

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

/// Identities in an answer: to whom, by which entries, and the state by which they were judged last.
#[derive(Clone)]
pub(crate) struct Departure(Arc<Held>);

struct Held {
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

impl Departure {
    /// Identities for an agent that showed an SVID with this serial number.
    pub(crate) fn new(agent: SpiffeId, serial: String, issued: Vec<Issued>) -> Self {
        Self(Arc::new(Held { agent, serial, issued }))
    }

    pub(crate) fn agent(&self) -> &SpiffeId {
        &self.0.agent
    }

    pub(crate) fn log_ids(&self) -> Vec<IssuanceId> {
        self.0.issued.iter().map(|issued| issued.log_id).collect()
    }

    pub(crate) fn is_to(&self, agent: &SpiffeId) -> bool {
        self.0.agent == *agent
    }

    pub(crate) fn is_by(&self, id: &EntryId) -> bool {
        self.0.issued.iter().any(|issued| issued.entry.as_ref().is_some_and(|entry| entry.id == *id))
    }

    /// Whether all of it could still be issued.
    pub(crate) fn judge(&self, view: &View, server_id: &SpiffeId) -> Result<(), Cause> {
        let held = &*self.0;
        view.read(|state| {
            if held.issued.iter().all(|issued| issued.judged_at == state.generation) {
                return Ok(());
            }
            let node = state.nodes.get(&held.agent);
            let standing = Node::standing(node.map(AsRef::as_ref), &held.serial);
            let node = match (node, standing) {
                (Some(node), Standing::Good) => node,
                (_, Standing::Superseded) => return Err(Cause::Superseded),
                _ => return Err(Cause::Standing(standing)),
            };
            let serves = state.serves(node, server_id, now());
            let stands = |entry: &Arc<Entry>| {
                serves.contains(&entry.parent_id) && state.entries.get(&entry.id).is_some_and(|known| known == entry)
            };
            if held.issued.iter().filter_map(|issued| issued.entry.as_ref()).all(stands) {
                Ok(())
            } else {
                Err(Cause::EntryChanged)
            }
        })
    }
}

/// Why identities that were signed do not leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("{SUPERSEDED}")]
    Superseded,
    #[error("{}", says(*.0))]
    Standing(Standing),
    #[error("an entry changed while its identity was issued; ask again")]
    EntryChanged,
}

/// The answers that connections have taken and not yet passed on.
pub(crate) struct Departures {
    open: Mutex<Open>,
    /// The lowest number that is open.
    oldest: watch::Sender<u64>,
}

#[derive(Default)]
struct Open {
    next: u64,
    answers: BTreeMap<u64, Departure>,
}

impl Departures {
    pub(crate) fn new() -> Self {
        Self { open: Mutex::default(), oldest: watch::Sender::new(0) }
    }

    pub(crate) fn enter(&self, departure: &Departure) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.answers.insert(number, departure.clone());
        number
    }

    pub(crate) fn leave(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&number);
        self.oldest.send_modify(|changes| *changes += 1);
    }

    /// Waits until the answers that `concerned` says of have left. For a revocation, after the view has it and before
    /// it is acknowledged: an answer that is taken later is judged by that view.
    pub(crate) async fn settle(&self, concerned: impl Fn(&Departure) -> bool) {
        let mut changes = self.oldest.subscribe();
        let waiting: Vec<u64> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.answers.iter().filter(|(_, departure)| concerned(departure)).map(|(number, _)| *number).collect()
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
