//! Bytes: one decision for each connection, made again when the policy changes (law L12).

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_policy::RequestInput;
use sekisho_runtime::random_hex;
use sekisho_types::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::renewal::{self, Proven, Renewable};
use crate::serving::{Inbound, REVOKED, withdrawn};
use crate::trace::Trace;

/// Judges a connection and, while it stays allowed and both ends prove who they are, passes its bytes. Policy sees the
/// method `TCP` and no path.
pub(crate) async fn decide_and_splice<S: AsyncRead + AsyncWrite + Unpin>(
    inbound: &Inbound,
    mut stream: S,
    mut renewable: Renewable<'_>,
    own: &SpiffeId,
) {
    let Proven { mut leaf, subject, mut ends } = renewable.proven.borrow_and_update().clone();
    let peer = leaf.spiffe_id.to_string();
    let mut input = Arc::new(RequestInput {
        method: "TCP".to_owned(),
        path: vec![],
        query: String::new(),
        headers: BTreeMap::new(),
        subject,
        destination: own.clone(),
        request_id: random_hex(16),
    });
    let mut changed = inbound.decider.policy().changed.subscribe();
    let outcome = inbound.decider.decide(input.clone(), Trace::below(None)).await;
    if !outcome.effect.is_allow() {
        tracing::debug!(peer, "connection denied");
        return;
    }
    let (mut upstream, _permit) = match inbound.upstream.raw_connection(&peer).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::warn!(peer, %error, "the service was not reached");
            return;
        }
    };
    let splice = copy_bidirectional(&mut stream, &mut upstream);
    let mut splice = std::pin::pin!(splice);
    let why = loop {
        let still_allowed = tokio::select! {
            biased;
            () = withdrawn(inbound.identity.held.clone()) => break "the identity was taken away",
            why = inbound.revocations.revoked(&leaf) => {
                inbound.decider.refuse(REVOKED, &peer, &why);
                break "its peer's SVID is revoked";
            }
            () = inbound.stop.wait() => break "the sidecar stops",
            () = tokio::time::sleep(renewal::left(ends).unwrap_or_default()) => break "an SVID on it has expired",
            Ok(()) = renewable.proven.changed() => {
                let renewed = renewable.proven.borrow_and_update().clone();
                (leaf, ends) = (renewed.leaf, renewed.ends);
                // What its new SVID claims may be less.
                input = Arc::new(RequestInput { subject: renewed.subject, ..(*input).clone() });
                inbound.decider.still_allowed(&input)
            }
            heard = changed.changed() => heard.is_ok() && inbound.decider.still_allowed(&input),
            _finished = splice.as_mut() => return,
        };
        if !still_allowed {
            // Recorded as a decision of its own.
            inbound.decider.decide(input.clone(), Trace::below(None)).await;
            break "the policy in force denies it";
        }
    };
    tracing::info!(peer, decision = %outcome.id, why, "connection closed");
}
