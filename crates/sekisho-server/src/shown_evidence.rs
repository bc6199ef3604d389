//! What a node showed when it proved itself: kept, replaced by what it shows later, and forgotten.

use std::sync::Arc;

use sekisho_disk::DiskError;
use sekisho_evidence::node::{ShownEvidence, attestor};
use sekisho_identity::Node;
use sekisho_types::{Digest, SpiffeId, UnixTime};

use crate::domain::Domain;
use crate::evidence_folder::EvidenceFolder;
use crate::journal::JournalError;

/// The hash of what a node showed, by what its attestor remembers.
pub(crate) fn shown_by(attestation_type: &str, remembered: &str) -> Option<Digest> {
    attestor(attestation_type)?.shown(remembered)
}

/// Keeps what a node showed.
pub(crate) async fn keep(domain: &Arc<Domain>, shown: Arc<ShownEvidence>) -> Result<(), JournalError> {
    on_disk(domain, move |evidence| evidence.put(&shown)).await
}

/// Keeps what a node showed when it was refused.
pub(crate) async fn keep_refused(
    domain: &Arc<Domain>,
    node: &SpiffeId,
    shown: Arc<ShownEvidence>,
) -> Result<(), JournalError> {
    let node = node.clone();
    on_disk(domain, move |evidence| evidence.put_refused(&node, &shown)).await
}

async fn on_disk(
    domain: &Arc<Domain>,
    put: impl FnOnce(&EvidenceFolder) -> Result<(), DiskError> + Send + 'static,
) -> Result<(), JournalError> {
    let of = domain.clone();
    let kept = sekisho_runtime::blocking(move || put(&of.log.evidence)).await;
    kept.map_err(|stopped| DiskError::Stopped(stopped.to_string())).flatten().map_err(|error| Arc::new(error).into())
}

/// Removes what a node showed before, when it is admitted by what it shows now.
pub(crate) async fn replace(domain: &Arc<Domain>, before: Option<String>, now: &Node) {
    let shown = |remembered: &str| shown_by(&now.attestation_type, remembered);
    let (before, now) = (before.as_deref().and_then(shown), now.remembered.as_deref().and_then(shown));
    let Some(before) = before.filter(|before| Some(*before) != now) else { return };
    let of = domain.clone();
    let _next_time = sekisho_runtime::blocking(move || of.log.evidence.remove(&before)).await;
}

/// Forgets what is not the last of any node. Blocks.
pub(crate) fn forget(domain: &Domain, before: UnixTime) {
    let named = domain.view.read(|state| {
        let shown = |node: &Arc<Node>| shown_by(&node.attestation_type, node.remembered.as_deref()?);
        state.nodes.values().filter_map(shown).collect()
    });
    domain.log.evidence.forget(&named, before);
}
