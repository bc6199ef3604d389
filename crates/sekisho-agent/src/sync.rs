//! What the server says: a stream of changes, or SPIRE's sync where the server has none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::{Entry, held_digest};
use sekisho_proto::server::{Policy, WatchRequest, WatchResponse, node_client::NodeClient};
use sekisho_proto::spire::agent::v1::{PostStatusRequest, agent_client::AgentClient};
use sekisho_proto::spire::entry::v1::{SyncAuthorizedEntriesRequest, entry_client::EntryClient};
use sekisho_proto::{bundle_from_wire, entry_from_wire, types};
use sekisho_runtime::{Inflow, random_u32};
use sekisho_types::EntryId;

use crate::attest::fetch_bundle;
use crate::backoff::Backoff;
use crate::behind::{FIRST_LATE, LONGEST_LATE};
use crate::core::Core;
use crate::error::AgentError;
use crate::server_failure::{Kind, ServerFailure};
use crate::server_state::{Position, ServerState};
use crate::{renew, revocations};

/// SPIRE's own interval.
const POLL: Duration = Duration::from_secs(5);

/// Follows the server until it bans this agent.
pub(crate) async fn follow(core: Arc<Core>) -> AgentError {
    let (mut backoff, mut late) = (Backoff::default(), FIRST_LATE);
    loop {
        if core.server_state.behind().is_none() {
            late = FIRST_LATE;
        }
        let ended = tokio::select! {
            biased;
            ended = watch(&core) => ended,
            behind = core.server_state.overdue(late) => {
                late = (late * 2).min(LONGEST_LATE);
                Err(ServerFailure::outage(behind.to_string()))
            }
        };
        if core.upstream.connected.send_replace(false) {
            backoff = Backoff::default();
        }
        if ended.as_ref().is_err_and(|failure| failure.kind != Kind::Unimplemented) {
            revocations::unreachable(&core);
        }
        match ended {
            Err(failure) if failure.kind == Kind::Unimplemented => {
                tracing::info!("the server has no delta stream; syncing every {} s", POLL.as_secs());
                if let Err(failure) = poll(&core).await {
                    tracing::warn!(reason = failure.message, "the sync with the server failed");
                }
            }
            Err(failure) if failure.is_banned() => return AgentError::Server(failure),
            Err(failure) => {
                let reason = &failure.message;
                tracing::warn!(reason, "no connection to the server; the agent serves the SVIDs that it holds");
                // An evicted agent does not wait for the half life of an SVID that no longer counts.
                if failure.must_reattest() {
                    core.upstream.attest_wanted.notify_one();
                }
            }
            Ok(()) => {}
        }
        tokio::time::sleep(backoff.pause(random_u32())).await;
    }
}

async fn watch(core: &Arc<Core>) -> Result<(), ServerFailure> {
    let mut redialled = core.upstream.redialled.subscribe();
    let (acknowledge, requests) = tokio::sync::mpsc::channel(4);
    // Before the server says where it is: one whose state was put back learns from this how far it had been.
    let held = core.server_state.read(|state| state.revision);
    let position = core.server_state.position();
    let _first = acknowledge.try_send(WatchRequest { position, ..reported(core, held) });
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut messages = NodeClient::new(core.upstream.channel()).watch(stream).await?.into_inner();
    let inflow = Inflow::open();
    post_status(core).await;
    let (mut waiting, mut applied) = (None, held);
    let mut reports = core.delegations.reported.subscribe();
    reports.mark_changed();
    loop {
        let message = tokio::select! {
            biased;
            // The agent's SVID was renewed: go on over the connection that shows the new one.
            _redialled = redialled.changed() => return Ok(()),
            message = inflow.next(messages.message()) => message?,
            // What sidecars run is the server's to know as soon as they say it (law L15).
            _reported = reports.changed() => {
                report(core, &acknowledge, applied);
                continue;
            }
        };
        let Some(message) = message else { return Ok(()) };
        core.server_state.heard();
        // They only take away, so they need not wait for the rest.
        revocations::take(core, &message.revocations);
        let Some(message) = joined(&mut waiting, message)? else { continue };
        let revision = message.revision;
        warn_of_older_state(core, &message);
        let binds_decisions = message.policy.is_some() || !message.revocations.is_empty();
        let is_on_disk = core.server_state.keeps(applied);
        apply(core, message)?;
        revocations::complete(core);
        core.upstream.connected.send_replace(true);
        if !is_on_disk || binds_decisions || core.server_state.behind().is_some() {
            // On disk before an SVID that requires it is served. Until then that SVID is withheld.
            if !renew::save(core).await {
                core.cache.request_save();
            }
        } else {
            // Policy and revocations are those that are on disk.
            core.server_state.keep(revision);
            core.cache.request_save();
        }
        applied = revision;
        report(core, &acknowledge, applied);
    }
}

fn report(core: &Core, acknowledge: &tokio::sync::mpsc::Sender<WatchRequest>, applied_revision: u64) {
    // A full channel means that the server reads slowly; the next acknowledgement covers this one.
    let _late = acknowledge.try_send(reported(core, applied_revision));
}

fn reported(core: &Core, applied_revision: u64) -> WatchRequest {
    let policy_in_force = core.delegations.policy_in_force().into_iter().collect();
    let revocations_applied = core.delegations.applied().into_iter().collect();
    WatchRequest { applied_revision, policy_in_force, revocations_applied, position: None }
}

/// Entries in messages that belong together, at most.
const MAX_ENTRIES: usize = 1_000_000;

/// The parts so far and this one; whole when no more come. A part alone would take away what the next part brings.
fn joined(waiting: &mut Option<WatchResponse>, part: WatchResponse) -> Result<Option<WatchResponse>, ServerFailure> {
    let mut whole = match waiting.take() {
        Some(mut whole) => {
            whole.entries.extend(part.entries);
            whole.removed_entry_ids.extend(part.removed_entry_ids);
            whole.bundle = part.bundle.or(whole.bundle);
            whole.policy = part.policy.or(whole.policy);
            whole.removed_parent_ids.extend(part.removed_parent_ids);
            whole.held_sha256 = part.held_sha256;
            whole.more = part.more;
            whole
        }
        None => part,
    };
    if whole.entries.len() > MAX_ENTRIES {
        return Err(ServerFailure::outage("the server sent more than a million entries"));
    }
    if std::mem::take(&mut whole.more) {
        *waiting = Some(whole);
        return Ok(None);
    }
    Ok(Some(whole))
}

/// A server whose revisions go back has had an older copy of its state restored.
fn warn_of_older_state(core: &Core, message: &WatchResponse) {
    let newest = core.server_state.read(|state| state.revision);
    if message.complete && message.revision < newest {
        tracing::error!(
            known = newest,
            server = message.revision,
            "the server's state is older than what this agent has seen: an older copy of it was restored"
        );
    }
}

fn apply(core: &Core, message: WatchResponse) -> Result<(), ServerFailure> {
    let invalid =
        |e: sekisho_proto::ConvertError| ServerFailure::outage(format!("the server sent something unreadable: {e}"));
    let entries = entries_from_wire(&message.entries)?;
    let removed: BTreeSet<&str> = message.removed_entry_ids.iter().map(String::as_str).collect();
    let bundle = message.bundle.as_ref().map(bundle_from_wire).transpose().map_err(invalid)?;
    if let Some(bundle) = &bundle {
        take_bundle(core, bundle.clone())?;
    }
    let removed_parents: BTreeSet<&str> = message.removed_parent_ids.iter().map(String::as_str).collect();
    let is_gone = |entry: &Entry| {
        let parent = || entry.parent_id.to_string();
        removed.contains(entry.id.as_str())
            || (!removed_parents.is_empty() && removed_parents.contains(parent().as_str()))
    };
    core.server_state.update(|state| {
        if message.complete {
            state.entries.clear();
        }
        state.entries.retain(|_, entry| !is_gone(entry));
        state.entries.extend(entries);
        let epoch = match (message.epoch.is_empty(), state.position.take()) {
            (true, before) => before.map(|position| position.epoch),
            (false, _) => Some(message.epoch),
        };
        state.position = epoch.map(|epoch| Position { epoch, revision: message.revision });
        // A server whose state was put back jumps beyond this when it hears of it; until then it does not count as
        // seen.
        state.revision = state.revision.max(message.revision);
        take_policy(state, message.policy);
    });
    check_held(core, &message.held_sha256)
}

/// Whether what is held is what the server counts. If not, it begins with everything next time.
fn check_held(core: &Core, expected: &[u8]) -> Result<(), ServerFailure> {
    let held = core.server_state.read(|state| held_digest(state.entries.values().map(AsRef::as_ref)));
    if expected.is_empty() || held.as_bytes() == expected {
        return Ok(());
    }
    core.server_state.update(|state| state.position = None);
    Err(ServerFailure::outage(
        "the changes that it sent do not lead to the entries of this agent; the agent requests all entries again",
    ))
}

/// Takes a policy unless it is older than the one held. What a restored server gives out lies beyond all earlier
/// revisions.
fn take_policy(state: &mut ServerState, policy: Option<Policy>) {
    let Some(policy) = policy else { return };
    let held = state.policy.as_ref().map_or(0, |policy| policy.revision);
    if policy.revision < held {
        tracing::error!(held, server = policy.revision, "the server's policy is older than the agent's and is ignored");
        return;
    }
    state.policy = Some(policy);
}

/// Takes a bundle unless it is older than the one held, and uses it for the connections to come.
fn take_bundle(core: &Core, bundle: sekisho_identity::Bundle) -> Result<(), ServerFailure> {
    let mut held = (*core.server_state.bundle()).clone();
    match held.replace_with(bundle) {
        Ok(_) => {}
        Err(error) => {
            tracing::error!(%error, "the server's bundle was refused");
            return Ok(());
        }
    }
    let bundle = Arc::new(held);
    core.upstream.trust(bundle.clone()).map_err(|e| ServerFailure::outage(e.to_string()))?;
    core.server_state.update(|state| state.bundle = bundle);
    Ok(())
}

fn entries_from_wire(entries: &[types::Entry]) -> Result<BTreeMap<EntryId, Arc<Entry>>, ServerFailure> {
    let one = |wire: &types::Entry| {
        let id = EntryId::parse(&wire.id).map_err(|e| e.to_string())?;
        let entry = entry_from_wire(wire, &id, None).map_err(|e| e.to_string())?;
        Ok((id, Arc::new(entry)))
    };
    let entries: Result<_, String> = entries.iter().map(one).collect();
    entries.map_err(|e| ServerFailure::outage(format!("the server sent an unreadable entry: {e}")))
}

/// SPIRE's sync, again and again, until it fails.
async fn poll(core: &Arc<Core>) -> Result<(), ServerFailure> {
    loop {
        let entries = entries_from_wire(&sync_entries(core).await?)?;
        if let Ok(bundle) = fetch_bundle(core.upstream.channel()).await {
            take_bundle(core, bundle)?;
        }
        let changed = core.server_state.read(|state| state.entries != entries);
        if changed {
            core.server_state.update(|state| {
                state.entries = entries;
                state.position = None;
            });
            core.cache.request_save();
        }
        // SPIRE's server revokes no single SVIDs.
        revocations::complete(core);
        core.upstream.connected.send_replace(true);
        tokio::time::sleep(POLL).await;
    }
}

async fn sync_entries(core: &Core) -> Result<Vec<types::Entry>, ServerFailure> {
    let (to, requests) = tokio::sync::mpsc::channel(2);
    let lost = |_| ServerFailure::outage("the connection was lost");
    to.send(SyncAuthorizedEntriesRequest::default()).await.map_err(lost)?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut pages = EntryClient::new(core.upstream.channel()).sync_authorized_entries(stream).await?.into_inner();
    let (mut entries, mut wanted) = (Vec::new(), Vec::new());
    while let Some(page) = pages.message().await? {
        entries.extend(page.entries);
        wanted.extend(page.entry_revisions.into_iter().map(|revision| revision.id));
        if page.more {
            continue;
        }
        if wanted.is_empty() {
            return Ok(entries);
        }
        let ids: Vec<String> = wanted.drain(..wanted.len().min(500)).collect();
        to.send(SyncAuthorizedEntriesRequest { output_mask: None, ids }).await.map_err(lost)?;
    }
    Ok(entries)
}

async fn post_status(core: &Core) {
    let serial = core.server_state.bundle().sequence.unwrap_or(0);
    let request =
        PostStatusRequest { current_bundle_serial: serial, agent_version: env!("CARGO_PKG_VERSION").to_owned() };
    if let Err(status) = AgentClient::new(core.upstream.channel()).post_status(request).await {
        tracing::debug!(reason = status.message(), "the status was not taken");
    }
}
