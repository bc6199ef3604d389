//! What an attestor on a node measured of a process, as typed claims.

use std::collections::BTreeSet;

use sekisho_types::{ClaimValue, Claims, NodeEvidence, ProcessEvidence, Selector, UnixTime};

const MAX_SELECTORS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    #[error("the evidence has no selector, or more than {MAX_SELECTORS}")]
    Selectors,
    #[error("the evidence names its attestor as `name/version`, at most 64 characters")]
    Source,
    #[error("the evidence shows two executables for one process")]
    TwoDigests,
}

/// Checks process evidence and derives the claims that an identity may carry of it.
pub fn process_evidence(
    source: &str,
    measured_at: UnixTime,
    selectors: BTreeSet<Selector>,
) -> Result<ProcessEvidence, ProcessError> {
    if selectors.is_empty() || selectors.len() > MAX_SELECTORS {
        return Err(ProcessError::Selectors);
    }
    if source.len() > 64 || !source.contains('/') {
        return Err(ProcessError::Source);
    }
    let mut claims = Claims::default();
    let mut digests = selectors.iter().filter_map(|s| s.value().strip_prefix("sha256:").filter(|_| s.kind() == "unix"));
    if let Some(digest) = digests.next() {
        claims.set("executable_sha256", ClaimValue::Text(digest.to_owned()));
    }
    if digests.next().is_some() {
        return Err(ProcessError::TwoDigests);
    }
    claims.set("attestor", ClaimValue::Text(source.to_owned()));
    Ok(ProcessEvidence { source: source.to_owned(), measured_at, selectors, claims })
}

/// What is known of an attested node that shows nothing of hardware. `ends_at` is the end of what it proved itself with.
pub fn node_evidence(attestation_type: &str, selectors: BTreeSet<Selector>, ends_at: Option<UnixTime>) -> NodeEvidence {
    let mut claims = Claims::default();
    claims.set("node_attestation", ClaimValue::Text(attestation_type.to_owned()));
    NodeEvidence { source: format!("{attestation_type}/1"), selectors, claims, ends_at }
}
