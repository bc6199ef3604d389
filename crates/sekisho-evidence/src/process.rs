//! What an attestor on a node measured of a process, as typed claims.

use std::collections::BTreeSet;

use sekisho_types::{ClaimValue, Claims, Evidence, EvidenceClass, Selector, UnixTime};

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
) -> Result<Evidence, ProcessError> {
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
    Ok(Evidence { class: EvidenceClass::Process, source: source.to_owned(), measured_at, selectors, claims })
}

/// What is known of an attested node that shows nothing of hardware.
pub fn node_evidence(attestation_type: &str, selectors: BTreeSet<Selector>, now: UnixTime) -> Evidence {
    let mut claims = Claims::default();
    claims.set("node_attestation", ClaimValue::Text(attestation_type.to_owned()));
    Evidence {
        class: EvidenceClass::Node,
        source: format!("{attestation_type}/1"),
        measured_at: now,
        selectors,
        claims,
    }
}
