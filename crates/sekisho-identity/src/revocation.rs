//! Revocations: which SVIDs are refused although they have not expired (laws L6 and L12).
//!
//! A revocation names what is revoked and the revision of the state that revoked it. It concerns SVIDs that were issued
//! by an earlier revision only, so an agent that attests again, or an entry that is changed back, works at once with
//! new SVIDs, and no clock takes part. It is kept until the last SVID that it can concern has expired.

use std::collections::BTreeMap;
use std::fmt;

use sekisho_types::{EntryId, Revision, SpiffeId, UnixTime};

use crate::{AgentKey, Entry, Issuance, LeafFacts};

/// The longest life of any SVID, so the longest that a revocation must be kept.
pub const LONGEST_SVID_SECONDS: i64 = 24 * 3600;
/// A revocation is kept this much longer, for clocks that differ.
const GRACE_SECONDS: i64 = 3600;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked {
    /// SVIDs of an entry, under the SPIFFE ID that it gave.
    Entry { id: EntryId, spiffe_id: SpiffeId },
    /// An agent's own SVIDs and all that it asked for.
    Agent(SpiffeId),
    /// All SVIDs of a SPIFFE ID.
    SpiffeId(SpiffeId),
    /// One SVID, by its serial number in hexadecimal.
    Serial(String),
}

/// The properties of an SVID (X.509 or JWT) that decide whether a revocation concerns it.
#[derive(Debug, Clone, Copy)]
pub struct IssuedSvid<'a> {
    pub spiffe_id: &'a SpiffeId,
    /// `notBefore`, or `iat`.
    pub issued_at: UnixTime,
    /// The serial number in hexadecimal, or `jti`.
    pub serial: &'a str,
    pub issuance: Option<&'a Issuance>,
}

impl IssuedSvid<'_> {
    /// The kinds of revocation that can concern it, from its own content. `agent` is the one that asked for it.
    pub fn revocable(&self, agent: Option<SpiffeId>) -> Vec<Revoked> {
        let id = self.spiffe_id;
        let own = [Revoked::SpiffeId(id.clone()), Revoked::Agent(id.clone()), Revoked::Serial(self.serial.to_owned())];
        let entry = self.issuance.and_then(|issuance| issuance.entry.clone());
        let entry = entry.map(|entry| Revoked::Entry { id: entry, spiffe_id: id.clone() });
        own.into_iter().chain(entry).chain(agent.map(Revoked::Agent)).collect()
    }
}

impl<'a> From<&'a LeafFacts> for IssuedSvid<'a> {
    fn from(leaf: &'a LeafFacts) -> Self {
        let LeafFacts { spiffe_id, not_before, serial, issuance, .. } = leaf;
        Self { spiffe_id, issued_at: *not_before, serial, issuance: issuance.as_ref() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub what: Revoked,
    /// The revision of the state that revoked it: SVIDs that were issued by an earlier one are refused.
    pub revision: Revision,
    pub at: UnixTime,
    /// When the last SVID that it can concern expires.
    pub until: UnixTime,
    /// In the past tense: `was deleted`, `was banned`.
    pub reason: String,
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Revoked::Entry { id, .. } => write!(f, "entry `{id}`")?,
            Revoked::Agent(_) => f.write_str("the agent that asked for it")?,
            Revoked::SpiffeId(id) => write!(f, "`{id}`")?,
            Revoked::Serial(serial) => write!(f, "serial number `{serial}`")?,
        }
        write!(f, " {} (revision {})", self.reason, self.revision)
    }
}

impl Revocation {
    fn concerns(&self, svid: &IssuedSvid<'_>) -> bool {
        match svid.issuance {
            Some(issuance) => issuance.revision < self.revision,
            // Issued by an earlier release, or not by us: its time is all there is to compare.
            None => svid.issued_at <= self.at,
        }
    }
}

/// The revocations in force, one for each thing that is revoked: a later one covers an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    by_what: BTreeMap<Revoked, Revocation>,
    agents: BTreeMap<AgentKey, SpiffeId>,
}

impl Revocations {
    /// Adds a revocation. False if it adds nothing to those that are there.
    pub fn add(&mut self, revocation: Revocation) -> bool {
        if let Some(known) = self.by_what.get_mut(&revocation.what) {
            let (revision, until) = (known.revision.max(revocation.revision), known.until.max(revocation.until));
            let changed = (known.revision, known.until) != (revision, until);
            if revocation.revision > known.revision {
                *known = revocation;
            }
            known.until = until;
            return changed;
        }
        if let Revoked::Agent(agent) = &revocation.what {
            self.agents.insert(AgentKey::of(agent), agent.clone());
        }
        self.by_what.insert(revocation.what.clone(), revocation);
        true
    }

    /// Drops those that no SVID can need any more.
    pub fn prune(&mut self, now: UnixTime) {
        self.by_what.retain(|_, revocation| revocation.until.plus_seconds(GRACE_SECONDS) > now);
        self.agents.retain(|_, agent| self.by_what.contains_key(&Revoked::Agent(agent.clone())));
    }

    /// The revocation that an SVID falls under.
    pub fn find<'a>(&self, svid: impl Into<IssuedSvid<'a>>) -> Option<&Revocation> {
        if self.by_what.is_empty() {
            return None;
        }
        let svid = svid.into();
        let agent = svid.issuance.and_then(|issuance| self.agents.get(&issuance.agent?));
        let mut whats = svid.revocable(agent.cloned());
        if svid.issuance.is_none() {
            // Which entry gave it and which agent asked for it is unknown, so each that may have counts.
            whats.extend(self.by_what.keys().filter(|what| may_have_given(what, svid.spiffe_id)).cloned());
        }
        let found = whats.iter().filter_map(|what| self.by_what.get(what));
        found.into_iter().find(|revocation| revocation.concerns(&svid))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.by_what.values()
    }

    /// Those that `other` does not hold as they are here.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Revocation> {
        self.iter().filter(|revocation| other.by_what.get(&revocation.what) != Some(*revocation))
    }

    pub fn len(&self) -> usize {
        self.by_what.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_what.is_empty()
    }
}

/// Whether this gave an SVID of `id` that does not say where it comes from. The SVIDs of agents are their own.
fn may_have_given(what: &Revoked, id: &SpiffeId) -> bool {
    match what {
        Revoked::Entry { spiffe_id, .. } => spiffe_id == id,
        Revoked::Agent(_) => !id.path().starts_with("/spire/"),
        Revoked::SpiffeId(_) | Revoked::Serial(_) => false,
    }
}

/// Whether a change of an entry takes something away that its SVIDs in use still have: another SPIFFE ID or parent,
/// a selector that not each holder has, fewer DNS names, an earlier end, a shorter life, a key that can be copied.
pub fn narrows(before: &Entry, after: &Entry) -> bool {
    // The pattern lists every field: a new field states here whether its loss revokes.
    let Entry {
        spiffe_id,
        parent_id,
        selectors,
        dns_names,
        expires_at: _,
        x509_ttl_seconds,
        tpm_key,
        // These are in no SVID that must stop, or are looked up at each use.
        id: _,
        admin: _,
        created_at: _,
        disable_x509_prefetch: _,
        downstream: _,
        federates_with: _,
        hint: _,
        jwt_include_jti: _,
        jwt_ttl_seconds: _,
        revision_number: _,
        store_svid: _,
    } = before;
    let end = |entry: &Entry| entry.expires_at.unwrap_or(UnixTime::from_seconds(i64::MAX / 1_000_000_000));
    // Zero is the server's default, which is not known here.
    let shorter = *x509_ttl_seconds != after.x509_ttl_seconds
        && (*x509_ttl_seconds == 0 || after.x509_ttl_seconds < *x509_ttl_seconds);
    *spiffe_id != after.spiffe_id
        || *parent_id != after.parent_id
        || !after.selectors.is_subset(selectors)
        || !dns_names.iter().all(|name| after.dns_names.contains(name))
        || end(after) < end(before)
        || shorter
        || (after.tpm_key && !tpm_key)
}

#[cfg(test)]
mod tests;
