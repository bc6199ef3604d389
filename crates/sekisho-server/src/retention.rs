//! What is removed after a time: old decisions, agents and entries that expired long ago, and openings of old
//! commitments.

use std::time::Duration;

use sekisho_disk::DiskError;
use sekisho_events::{AgentForgotten, EntryForgotten, OpeningsErased};
use sekisho_identity::Node;
use sekisho_ledger::TILE_WIDTH;
use sekisho_runtime::now;
use sekisho_store::{Conflict, EntryVersion, Expect, Item, StoreError, Write};
use sekisho_types::UnixTime;

use crate::domain::{Domain, Shared};
use crate::journal::{JournalError, personal};
use crate::{log_search, shown_evidence};

const EVERY: Duration = Duration::from_secs(20 * 60);
/// Agents and entries that one change forgets at most.
const AT_ONCE: usize = 500;

#[derive(Debug, thiserror::Error)]
enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Forgets from time to time, permanently.
pub(crate) async fn run(domain: Shared) {
    loop {
        if let Err(error) = forget(&domain).await {
            tracing::error!(%error, "old records were not removed; the server will try again in 20 minutes");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Forgets what is too old by the time that is believed.
async fn forget(domain: &Shared) -> Result<(), RetentionError> {
    let (clock, retention) = (now(), domain.settings.retention);
    let mark = domain.watch.trusted_time.time(clock);
    // What the clock itself does not call old is not.
    let now = mark.min(clock);
    if clock.seconds_since(now) > days(1) {
        tracing::warn!(%clock, %now, "the clock is ahead of what retention believes, which follows it slowly");
    }
    let ended = now.plus_seconds(-days(retention.ended_days));
    while remove_expired(domain, ended).await? == AT_ONCE {}
    let files = domain.clone();
    let done = sekisho_runtime::blocking(move || -> Result<u64, RetentionError> {
        let age = Duration::from_secs(u64::from(retention.decisions_days) * 24 * 3600);
        files.log.decisions.expire(u64::try_from(now.millis()).unwrap_or(0), age)?;
        shown_evidence::forget(&files, ended);
        let before = retention.openings_days.map(|kept| now.plus_seconds(-days(kept)));
        before.map_or(Ok(0), |before| erase_openings(&files, before))
    });
    let erased = done.await.map_err(|ended| DiskError::Stopped(ended.to_string()))??;
    if retention.openings_days.is_some() {
        // The outbox held the same openings before the log did. Each time: a reader may have been in the way.
        domain.store.wipe().await?;
    }
    if erased > 0 {
        domain.journal().append(OpeningsErased { entries: erased }).await?;
    }
    // The next run of the server begins to believe from here.
    let item = Item::from(Write::RemoveFormerParentsBefore(ended)).write(Write::MarkRetention(mark));
    domain.writer().write(item).await.map(drop)
}

fn days(count: u32) -> i64 {
    i64::from(count) * 24 * 3600
}

/// Removes agents and entries that expired before `before`. A ban is kept.
async fn remove_expired(domain: &Domain, before: UnixTime) -> Result<usize, RetentionError> {
    let ended = |node: &&std::sync::Arc<Node>| node.expires_at < before && !node.banned;
    let (nodes, entries) = domain.view.read(|state| {
        let nodes: Vec<_> = state.nodes.values().filter(ended).take(AT_ONCE).cloned().collect();
        let entries = state.entries.values().filter(|entry| entry.expires_at.is_some_and(|end| end < before));
        (nodes, entries.take(AT_ONCE).cloned().collect::<Vec<_>>())
    });
    let count = nodes.len().max(entries.len());
    if count == 0 {
        return Ok(0);
    }
    let (stamp, by) = (domain.journal().stamp(), || personal("retention".to_owned()));
    let nodes = nodes.into_iter().map(|node| {
        let forgotten = AgentForgotten { agent: personal(node.id.clone()), by: by() };
        Item::from(Write::RemoveNode { id: node.id.clone(), at: now() })
            .expect(Expect::Node { id: node.id.clone(), is: Some(node) })
            .record(stamp.clone().leaf(forgotten))
    });
    let entries = entries.into_iter().map(|entry| {
        let (before, id) = (Some(personal(entry.clone())), entry.id.clone());
        let forgotten = EntryForgotten { before, by: by(), entry: id.clone(), registration: None };
        Item::from(Write::RemoveEntry(id))
            .expect(Expect::Entry(EntryVersion::of(&entry)))
            .record(stamp.clone().leaf(forgotten))
    });
    // One that changed since the view was read, as by another attestation or a ban, conflicts and stays.
    let written = domain.writer().all(nodes.chain(entries).collect()).await?;
    // What conflicts stays until the next round.
    let has_progress = written.outcomes.iter().any(Result::is_ok);
    Ok(if has_progress { count } else { 0 })
}

/// Erases what opens the commitments of whole bundles that are older than `before`. Returns of how many entries.
fn erase_openings(domain: &Domain, before: UnixTime) -> Result<u64, RetentionError> {
    let old = log_search::bundles_before(&domain.log.ledger, before);
    // All of them each time: an earlier run may have been interrupted anywhere.
    Ok(domain.log.ledger.erase_side(0..old)? * TILE_WIDTH)
}
