//! What runs commands: here a batch is opened, the caller's right goes into it, events become leaves, and changes that
//! met others are prepared again. Commands prepare; they neither submit nor encode.

use std::sync::Arc;

use sekisho_events::Event;
use sekisho_store::{Conflict, Item, StoreError};

use crate::caller::Caller;
use crate::change::{Change, Facts};
use crate::denied::Denied;
use crate::domain::Shared;
use crate::issue::{Asked, IssueError, Issued, Kind, Requester, issue, issue_all};
use crate::journal::JournalError;

/// A view is stale only while another change is under way: so many in a row are others that change the same.
const ATTEMPTS: usize = 16;

/// A command's run, for a caller that was admitted.
pub(crate) struct Run<'a, C> {
    pub domain: &'a Shared,
    pub caller: &'a C,
}

impl<C: Caller> Run<'_, C> {
    pub(crate) fn facts(&self) -> Facts<'_> {
        self.domain.facts()
    }

    /// Writes what `prepare` makes of the view, in one transaction with its leaves. It relies on its caller's right
    /// (law L6), which is judged again at each attempt.
    pub(crate) async fn change<T, E>(&self, mut prepare: impl FnMut() -> Result<Change<T>, E>) -> Result<T, E>
    where
        E: From<StoreError> + From<Conflict> + From<Denied>,
    {
        let mut attempts = 0;
        loop {
            // Before the change is prepared, so that no later state than it was judged by is relied on.
            let stands = self.caller.stands(&self.domain.view)?;
            let (item, events, reply) = prepare()?.into_parts();
            let item = self.recorded(item.expect_first(stands), events);
            attempts += 1;
            // The view has all that was committed before this is answered.
            match self.domain.writer().all(vec![item]).await?.only() {
                Ok(revision) => return Ok(reply(revision)),
                Err(conflict) if conflict.is_stale() && attempts < ATTEMPTS => {}
                Err(conflict) => return Err(conflict.into()),
            }
        }
    }

    /// Writes changes together: one that conflicts keeps no other out.
    pub(crate) async fn change_all<T, E>(&self, changes: Vec<Change<T>>) -> Result<Vec<Result<T, Conflict>>, E>
    where
        E: From<StoreError> + From<Denied>,
    {
        let (mut prepared, mut replies) = (vec![], vec![]);
        for change in changes {
            let (item, events, reply) = change.into_parts();
            prepared.push((item, events));
            replies.push(reply);
        }
        let mut attempts = 0;
        let committed = loop {
            let stands = self.caller.stands(&self.domain.view)?;
            let relying = |(item, events): &(Item, Vec<Event>)| {
                self.recorded(item.clone().expect_first(stands.clone()), events.clone())
            };
            let committed = self.domain.writer().all(prepared.iter().map(relying).collect()).await?;
            attempts += 1;
            // They are one transaction: its operator stood for all of them, or for none.
            let has_changed = committed.outcomes.first() == Some(&Err(Conflict::OperatorChanged));
            if !has_changed || attempts == ATTEMPTS {
                break committed;
            }
        };
        let revision = committed.revision;
        let outcomes = replies.into_iter().zip(committed.outcomes);
        Ok(outcomes.map(|(reply, outcome)| outcome.map(|()| reply(revision))).collect())
    }

    /// Logs what happens without a change of the state. Durable when this returns (law L5).
    pub(crate) async fn log(&self, event: impl Into<Event> + Send) -> Result<u64, JournalError> {
        self.domain.journal().append(event).await
    }

    /// Issues an identity, by the gate.
    pub(crate) async fn issue<K: Kind, A: Asked>(
        &self,
        requester: &Arc<Requester>,
        kind: K,
        asked: A,
    ) -> Result<Issued<K::Identity>, IssueError> {
        issue(self.domain, requester, kind, asked).await
    }

    /// Issues identities, each for itself, with one wait for the log. `read` makes of an item what is asked for.
    pub(crate) async fn issue_all<K: Kind, I: Send + 'static, A: Asked>(
        &self,
        requester: &Arc<Requester>,
        kind: K,
        items: Vec<I>,
        read: impl Fn(I) -> Result<A, IssueError> + Clone + Send + 'static,
    ) -> Vec<Result<(Issued<K::Identity>, A), IssueError>> {
        issue_all(self.domain, requester, kind, items, read).await
    }

    fn recorded(&self, item: Item, events: Vec<Event>) -> Item {
        let journal = self.domain.journal();
        events.into_iter().fold(item, |item, event| item.record(journal.leaf(event)))
    }
}
