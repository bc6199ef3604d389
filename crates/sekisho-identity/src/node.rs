//! Attested nodes: what a server knows of an agent, and how the agent stands.

use std::collections::BTreeSet;

use sekisho_types::{Selector, SpiffeId, UnixTime};

use crate::{Entry, Standing};

/// An agent that attested here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: SpiffeId,
    pub attestation_type: String,
    /// Serial number of its newest SVID, in hexadecimal.
    pub serial: String,
    /// The one before, which stays good until the new one was used.
    pub previous_serial: Option<String>,
    pub expires_at: UnixTime,
    pub selectors: BTreeSet<Selector>,
    pub banned: bool,
    pub can_reattest: bool,
    pub version: String,
}

impl Node {
    /// How an agent that shows an SVID with `serial` stands.
    pub fn standing(node: Option<&Self>, serial: &str) -> Standing {
        match node {
            None => Standing::Unknown,
            Some(node) if node.banned => Standing::Banned,
            Some(node) if node.serial == serial || node.previous_serial.as_deref() == Some(serial) => Standing::Good,
            Some(_) => Standing::Superseded,
        }
    }

    /// The IDs under which entries may be parented for this agent to serve them: its own, and those of the
    /// node aliases (entries whose parent is the server) that its selectors match.
    pub fn serves<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a Entry>,
        server: &SpiffeId,
        now: UnixTime,
    ) -> BTreeSet<SpiffeId> {
        let aliases = entries.into_iter().filter(|entry| {
            entry.parent_id == *server
                && !entry.selectors.is_empty()
                && entry.selectors.is_subset(&self.selectors)
                && !entry.is_expired(now)
        });
        aliases.map(|entry| entry.spiffe_id.clone()).chain([self.id.clone()]).collect()
    }
}
