//! An SVID names the revision that it requires: the newest that changed the policy or revoked something. The agent
//! serves it once the server's stream has brought the state of that revision, and it is on disk. So a stream that is
//! silent, while calls are answered, leaves no policy in force for longer than the SVIDs that were issued before it.
//! And an agent that restarts without its server has no older policy than its sidecars' SVIDs require (law L14;
//! decisions/0056).

use std::time::Duration;

use sekisho_identity::{LeafFacts, leaf_facts};
use tokio::time::timeout;

use crate::server_state::SharedServerState;
use crate::svid::AgentSvid;

/// A stream that has brought nothing for so long, and is behind, is opened again. Each time in a row it gets twice as
/// long: over a slow link one message may take its time.
pub(crate) const FIRST_LATE: Duration = Duration::from_secs(5);
pub(crate) const LONGEST_LATE: Duration = Duration::from_secs(300);

/// The stream has brought less than an SVID requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this agent has the policy and revocations of revision {applied} on its disk, and new SVIDs require those of \
     revision {required}: new SVIDs are withheld until the server's stream has brought them and the disk has taken them"
)]
pub(crate) struct Behind {
    pub required: u64,
    pub applied: u64,
}

/// What an SVID requires; zero if it says nothing.
pub(crate) fn required_by(svid: &LeafFacts) -> u64 {
    svid.issuance.as_ref().and_then(|issuance| issuance.required).map_or(0, |revision| revision.0)
}

/// What the agent's own SVID requires.
pub(crate) fn required_by_own(own: &AgentSvid) -> u64 {
    own.chain.first().and_then(|leaf| leaf_facts(leaf).ok()).map_or(0, |facts| required_by(&facts))
}

impl SharedServerState {
    /// Whether the stream is behind what the server's SVIDs require.
    pub(crate) fn behind(&self) -> Option<Behind> {
        let required = *self.required.borrow();
        let applied = *self.kept().borrow();
        (applied < required).then_some(Behind { required, applied })
    }

    /// Waits until the stream has brought what is required, `patience` at most.
    pub(crate) async fn caught_up(&self, patience: Duration) -> Result<(), Behind> {
        let mut kept = self.kept();
        let come = async {
            while self.behind().is_some() {
                if kept.changed().await.is_err() {
                    return;
                }
            }
        };
        let _late = timeout(patience, come).await;
        self.behind().map_or(Ok(()), Err)
    }

    /// Returns when the stream is behind and has brought nothing for `late`.
    pub(crate) async fn overdue(&self, late: Duration) -> Behind {
        let (mut required, mut messages) = (self.required.subscribe(), self.messages.subscribe());
        loop {
            let is_behind = |required: &u64| *self.kept().borrow() < *required;
            // Fails only if the sender is gone, and it is here.
            if required.wait_for(is_behind).await.is_err() {
                std::future::pending::<()>().await;
            }
            messages.mark_unchanged();
            if let (Err(_silent), Some(behind)) = (timeout(late, messages.changed()).await, self.behind()) {
                return behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sekisho_identity::Bundle;
    use sekisho_runtime::instant;
    use sekisho_types::TrustDomain;

    use super::*;
    use crate::server_state::ServerState;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(revision: u64) -> Arc<SharedServerState> {
        let bundle = Arc::new(Bundle::empty(TrustDomain::parse("example.org").unwrap()));
        let entries = std::collections::BTreeMap::new();
        let known = ServerState { revision, position: None, entries, bundle, policy: None, revocations: None };
        Arc::new(SharedServerState::new(known))
    }

    #[tokio::test(start_paused = true)]
    async fn law_l14_an_svid_waits_for_its_policy() {
        let state = state(3);
        assert_eq!(state.caught_up(SECOND).await, Ok(()));
        state.require(3);
        state.require(2);
        assert_eq!(state.behind(), None);
        state.require(5);
        let (began, brings) = (instant(), state.clone());
        let stream = tokio::spawn(async move {
            for revision in [4, 5] {
                tokio::time::sleep(SECOND).await;
                brings.update(|state| state.revision = revision);
                tokio::time::sleep(SECOND / 4).await;
                brings.keep(revision);
            }
        });
        assert_eq!(state.caught_up(SECOND / 2).await, Err(Behind { required: 5, applied: 3 }));
        assert_eq!((state.caught_up(10 * SECOND).await, began.elapsed()), (Ok(()), 2 * SECOND + SECOND / 2));
        stream.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn law_l14_a_silent_stream_that_is_behind_is_overdue() {
        let state = state(3);
        let overdue = |late| {
            let state = state.clone();
            tokio::spawn(async move { (state.overdue(late).await, instant()) })
        };
        // Silence alone is not a fault.
        let late = overdue(5 * SECOND);
        tokio::time::sleep(60 * SECOND).await;
        assert!(!late.is_finished());
        // Parts of a large state come one by one.
        state.require(9);
        let began = instant();
        for _ in 0..4 {
            tokio::time::sleep(4 * SECOND).await;
            state.heard();
        }
        let (behind, at) = late.await.unwrap();
        assert_eq!((behind, at - began), (Behind { required: 9, applied: 3 }, 21 * SECOND));
        state.keep(9);
        assert!(timeout(60 * SECOND, overdue(SECOND)).await.is_err());
    }
}
