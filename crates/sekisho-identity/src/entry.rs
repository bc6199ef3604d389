//! Registration entries: which identity a process gets when its node and its selectors are as written.

use std::collections::BTreeSet;

use sekisho_evidence::{SelectorFormError, check_selector};
use sekisho_types::{EntryId, SelectorSet, SpiffeId, TrustDomain, UnixTime};

use crate::entry_declare::entry;

const MAX_SELECTORS: usize = 64;
const MAX_DNS_NAMES: usize = 64;
const MAX_HINT_BYTES: usize = 1024;
/// A day: longer-lived identities are what this project replaces.
const MAX_X509_TTL_SECONDS: u32 = 24 * 3600;
/// Five minutes (law L7).
const MAX_JWT_TTL_SECONDS: u32 = 300;

/// Why an entry is refused. Its author can fix all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("the SPIFFE ID `{id}` is not in trust domain `{trust_domain}`")]
    ForeignId { id: SpiffeId, trust_domain: TrustDomain },
    #[error("`{0}` is reserved for servers and agents: choose a path outside /spire/")]
    ReservedId(SpiffeId),
    #[error("an entry needs between 1 and {MAX_SELECTORS} selectors: an empty set would match nothing")]
    Selectors,
    #[error(transparent)]
    SelectorForm(#[from] SelectorFormError),
    #[error("an X.509-SVID lives at most {MAX_X509_TTL_SECONDS} seconds, a JWT-SVID at most {MAX_JWT_TTL_SECONDS}")]
    Lifetime,
    #[error("`{0}` is not a DNS name")]
    DnsName(String),
    #[error(
        "an entry that is `admin` or `downstream` is delegated to no sidecar, and a key in the TPM of the node is used \
            by a sidecar only; give it one or the other"
    )]
    UnusableKey,
    #[error("a hint is at most {MAX_HINT_BYTES} bytes, and an entry has at most {MAX_DNS_NAMES} DNS names")]
    TooLong,
}

entry! {
    /// A registration entry, with every field of SPIRE's.
    new(id: EntryId, spiffe_id: SpiffeId, parent_id: SpiffeId, selectors: SelectorSet);

    admin: bool = "admin", always;
    created_at: UnixTime = "created_at_ns", always;
    disable_x509_prefetch: bool = "disable_x509_prefetch", always;
    dns_names: Vec<String> = "dns_names", always;
    downstream: bool = "downstream", always;
    expires_at: Option<UnixTime> = "expires_at", always;
    federates_with: BTreeSet<TrustDomain> = "federates_with", always;
    hint: String = "hint", always;
    id: EntryId = "id", given;
    jwt_include_jti: bool = "jwt_include_jti", always;
    /// Zero means the server's default.
    jwt_ttl_seconds: u32 = "jwt_ttl_seconds", always;
    /// The agent that may serve it, or the server's own ID for an alias of nodes.
    parent_id: SpiffeId = "parent_id", given;
    revision_number: i64 = "revision_number", always;
    selectors: SelectorSet = "selectors", given;
    spiffe_id: SpiffeId = "spiffe_id", given;
    store_svid: bool = "store_svid", always;
    /// The private key of its X.509-SVIDs is in the TPM of its node, and so is delivered to no process.
    tpm_key: bool = "tpm_key", if_set;
    /// Zero means the server's default.
    x509_ttl_seconds: u32 = "x509_ttl_seconds", always;
}

impl Entry {
    /// Checks the entry against the rules of `trust_domain`.
    pub fn check(&self, trust_domain: &TrustDomain) -> Result<(), EntryError> {
        for id in [&self.spiffe_id, &self.parent_id] {
            if !id.is_member_of(trust_domain) || id.path().is_empty() {
                return Err(EntryError::ForeignId { id: id.clone(), trust_domain: trust_domain.clone() });
            }
        }
        if self.spiffe_id.path().starts_with("/spire/") {
            return Err(EntryError::ReservedId(self.spiffe_id.clone()));
        }
        if self.selectors.is_empty() || self.selectors.len() > MAX_SELECTORS {
            return Err(EntryError::Selectors);
        }
        self.selectors.iter().try_for_each(check_selector)?;
        if self.x509_ttl_seconds > MAX_X509_TTL_SECONDS || self.jwt_ttl_seconds > MAX_JWT_TTL_SECONDS {
            return Err(EntryError::Lifetime);
        }
        if self.tpm_key && (self.admin || self.downstream) {
            return Err(EntryError::UnusableKey);
        }
        if self.hint.len() > MAX_HINT_BYTES || self.dns_names.len() > MAX_DNS_NAMES {
            return Err(EntryError::TooLong);
        }
        match self.dns_names.iter().find(|name| !is_dns_name(name)) {
            Some(bad) => Err(EntryError::DnsName(bad.clone())),
            None => Ok(()),
        }
    }

    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether two entries would give the same identity on the same terms (SPIRE's "similar entry").
    pub fn same_registration(&self, other: &Self) -> bool {
        (&self.spiffe_id, &self.parent_id, &self.selectors) == (&other.spiffe_id, &other.parent_id, &other.selectors)
    }
}

/// The entries that a process with `found` selectors gets. An entry's selectors must all be found; an entry
/// with none matches nothing (law L3).
pub fn matches<'a>(entries: impl IntoIterator<Item = &'a Entry>, found: &SelectorSet, now: UnixTime) -> Vec<&'a Entry> {
    let fits =
        |entry: &&Entry| !entry.selectors.is_empty() && entry.selectors.is_subset(found) && !entry.is_expired(now);
    let mut out: Vec<&Entry> = entries.into_iter().filter(fits).collect();
    out.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    out
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label)
}
