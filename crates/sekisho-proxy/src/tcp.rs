//! Bytes: one decision for each connection, made again when the policy changes (law L12).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::LeafFacts;
use sekisho_policy::RequestInput;
use sekisho_runtime::{now, random_hex};
use sekisho_types::{SpiffeId, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::inbound::{Inbound, REVOKED, subject, withdrawn};
use crate::trace::Trace;

/// Judges a connection and, while it stays allowed, passes its bytes. Policy sees the method `TCP` and no path.
pub(crate) async fn judge_and_splice<S: AsyncRead + AsyncWrite + Unpin>(
    inbound: &Inbound,
    mut stream: S,
    leaf: &LeafFacts,
    own: &SpiffeId,
    ends: UnixTime,
) {
    let input = Arc::new(RequestInput {
        method: "TCP".to_owned(),
        path: vec![],
        query: String::new(),
        headers: BTreeMap::new(),
        subject: subject(leaf),
        destination: own.clone(),
        request_id: random_hex(16),
    });
    let mut changed = inbound.decider.policy().changed.subscribe();
    let made = inbound.decider.decide(input.clone(), Trace::below(None)).await;
    let Some(made) = made.filter(|made| made.effect.is_allow()) else {
        tracing::info!(peer = %leaf.spiffe_id, "connection denied");
        return;
    };
    let mut upstream = match inbound.upstream.connect().await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::warn!(%error, "the service did not answer");
            return;
        }
    };
    let splice = copy_bidirectional(&mut stream, &mut upstream);
    let mut splice = std::pin::pin!(splice);
    loop {
        let wait = Duration::from_millis(u64::try_from(ends.millis() - now().millis()).unwrap_or(0));
        let why = tokio::select! {
            _finished = splice.as_mut() => return,
            () = tokio::time::sleep(wait) => "an SVID on it has ended",
            () = inbound.stop.wait() => "the sidecar stops",
            () = withdrawn(inbound.identity.held.clone()) => "the identity was taken away",
            why = inbound.revocations.revoked(leaf) => {
                inbound.decider.refuse(REVOKED, &leaf.spiffe_id.to_string(), &why);
                "its peer's SVID is revoked"
            }
            heard = changed.changed() => match heard {
                Ok(()) if inbound.decider.still_allowed(&input) => continue,
                _ => {
                    // Recorded as a decision of its own.
                    inbound.decider.decide(input.clone(), Trace::below(None)).await;
                    "the policy in force denies it"
                }
            },
        };
        tracing::info!(peer = %leaf.spiffe_id, decision = %made.id, why, "connection closed");
        return;
    }
}
