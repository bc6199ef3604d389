//! Jumps beyond the revision that an agent has applied, if this server has not come so far (`rollback.rs` says when).

use sekisho_events::AgentAhead;
use sekisho_runtime::instant;
use sekisho_store::{Item, Write};
use sekisho_types::{Revision, SpiffeId};

use crate::domain::Domain;
use crate::journal::{JournalError, personal};

/// Hears which revision an agent has applied, and jumps beyond it if this server has not come so far.
pub(crate) async fn applied_by_agent(domain: &Domain, agent: &SpiffeId, applied: u64) {
    let held = domain.view.read(|state| state.revision);
    if !domain.streams.rollback.due(applied, held, instant()) {
        return;
    }
    match jump(domain, agent, applied, held).await {
        Ok(revision) => tracing::error!(
            %agent, applied, held = held.0, revision = revision.0,
            "an agent has applied a later revision than this server has: an older copy of the server's folder was put \
                back. What was changed after that copy is lost; compare entries, bans and policy. Revisions go on \
                beyond all earlier ones"
        ),
        Err(error) => {
            tracing::error!(%error, "the revision was not raised beyond the one that an agent has applied; the server \
                will try again at its next report");
            domain.streams.rollback.failed();
        }
    }
}

async fn jump(domain: &Domain, agent: &SpiffeId, applied: u64, held: Revision) -> Result<Revision, JournalError> {
    let stamp = domain.journal().stamp();
    let ahead = AgentAhead { agent: personal(agent.clone()), applied_revision: applied, held_revision: held.0 };
    let since = domain.streams.rollback.started;
    let jump = Write::JumpBeyond { floor: Revision(applied), since };
    let jumped = domain.writer().write::<JournalError>(Item::from(jump).record(stamp.leaf(ahead))).await?;
    Ok(jumped.unwrap_or(held))
}
