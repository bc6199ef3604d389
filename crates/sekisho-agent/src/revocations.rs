//! Revocations on their way from the server to sidecars. None is ever taken back: they are kept, over restarts and
//! outages too, until no SVID can need them (laws L12 and L14).

use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::Revocations;
use sekisho_proto::node::{WatchRevocationsRequest, WatchRevocationsResponse};
use sekisho_proto::server::Revocation as Wire;
use sekisho_proto::{REVOCATIONS_PER_MESSAGE, revocation_from_wire, revocation_to_wire};
use sekisho_runtime::now;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::core::Core;
use crate::delegations;

/// How long a sidecar's first message waits for the server's.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes revocations from the server, passes them on, and stops serving what they concern.
pub(crate) fn take(core: &Core, revocations: &[Wire]) {
    if revocations.is_empty() {
        return;
    }
    let mut readable = vec![];
    for revocation in revocations {
        match revocation_from_wire(revocation) {
            Ok(revocation) => readable.push(revocation),
            // A newer server may revoke by what this version does not know; the rest counts all the same.
            Err(error) => tracing::error!(%error, "a revocation is not understood and not enforced; update this agent"),
        }
    }
    core.server_state.update(|state| {
        let all = Arc::make_mut(state.revocations.get_or_insert_default());
        all.prune(now());
        readable.into_iter().for_each(|revocation| {
            all.add(revocation);
        });
    });
    let Some(all) = core.server_state.revocations() else { return };
    core.svids.drop_revoked(&all);
    core.cache.request_save();
}

/// The server has sent all that are in force, or has none to send.
pub(crate) fn complete(core: &Core) {
    if core.server_state.revocations().is_none() {
        core.server_state.update(|state| {
            state.revocations.get_or_insert_default();
        });
        core.cache.request_save();
    }
    core.server_state.settled.send_replace(true);
}

/// The server cannot be reached: what it sent last counts (law L14).
pub(crate) fn unreachable(core: &Core) {
    if core.server_state.revocations().is_some() {
        core.server_state.settled.send_replace(true);
    }
}

/// Those in force, once the server has sent them or is known not to answer; `None` if it has never sent any.
pub(crate) async fn in_force(core: &Core) -> Option<Arc<Revocations>> {
    let mut settled = core.server_state.settled.subscribe();
    tokio::select! {
        biased;
        _settled = settled.wait_for(|settled| *settled) => {}
        () = tokio::time::sleep(PATIENCE) => {}
    }
    core.server_state.revocations()
}

async fn slow_server(core: &Core) {
    tokio::time::sleep(PATIENCE).await;
    if core.server_state.revocations().is_none() {
        std::future::pending::<()>().await;
    }
}

/// Returns once the server has sent in this run what is in force, or does not answer: then what it sent last counts
/// (law L14).
pub(crate) async fn settled(core: &Core) {
    let mut settled = core.server_state.settled.subscribe();
    tokio::select! {
        biased;
        _settled = settled.wait_for(|settled| *settled) => {}
        // A server that does not answer counts as one that cannot be reached.
        () = slow_server(core) => {}
    }
}

/// Sends all that are in force, then each new one, until the sidecar goes away.
pub(crate) async fn feed<E>(core: Arc<Core>, to: mpsc::Sender<Result<WatchRevocationsResponse, E>>) {
    tokio::select! {
        biased;
        () = to.closed() => return,
        () = settled(&core) => {}
    }
    let (mut changes, mut sent, mut first) = (core.server_state.changes(), Arc::<Revocations>::default(), true);
    loop {
        changes.mark_unchanged();
        let all = core.server_state.revocations().unwrap_or_default();
        if first || !Arc::ptr_eq(&all, &sent) {
            let new: Vec<Wire> = all.beyond(&sent).map(revocation_to_wire).collect();
            let mut parts = new.chunks(REVOCATIONS_PER_MESSAGE).peekable();
            while let Some(part) = parts.next() {
                let message = WatchRevocationsResponse { revocations: part.to_vec(), more: parts.peek().is_some() };
                if to.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            // The first message comes in any case: it says that no other revocation is in force.
            if first && new.is_empty() && to.send(Ok(WatchRevocationsResponse::default())).await.is_err() {
                return;
            }
            (sent, first) = (all, false);
        }
        tokio::select! {
            biased;
            () = to.closed() => return,
            heard = changes.changed() => if heard.is_err() { return },
        }
    }
}

/// Takes what a sidecar says that it has applied, until it goes away.
pub(crate) async fn applied(
    core: &Core,
    sidecar: i32,
    stream: delegations::Stream,
    mut messages: Streaming<WatchRevocationsRequest>,
) {
    while let Ok(Some(message)) = messages.message().await {
        if core.delegations.put_applied(sidecar, stream, message.applied_revision) {
            core.delegations.ring();
        }
    }
}
