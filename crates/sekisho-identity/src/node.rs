//! Attested nodes: the server's record of an agent, and the agent's standing.

use std::collections::BTreeSet;
use std::sync::Arc;

use sekisho_evidence::node::{Proved, node_evidence};
use sekisho_evidence::{Evidence, EvidenceError, Piece};
use sekisho_types::{EvidenceClass, SelectorSet, SpiffeId, UnixTime};

use crate::{Entry, Standing};

/// An agent that attested here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: SpiffeId,
    pub attestation_type: String,
    /// Serial number of its newest SVID, in hexadecimal.
    pub serial: String,
    /// The previous one, which is valid until the new one was used.
    pub previous_serial: Option<String>,
    pub expires_at: UnixTime,
    /// When it proved itself; zero for one that did so before this was kept.
    pub attested_at: UnixTime,
    /// When its evidence expires. Identities of its workloads expire no later.
    pub evidence_ends_at: Option<UnixTime>,
    pub selectors: SelectorSet,
    pub banned: bool,
    pub can_reattest: bool,
    pub version: String,
    /// What its attestor needs when the node proves itself again, in the attestor's own form.
    pub remembered: Option<Arc<str>>,
}

impl Node {
    /// A node that has just proved who it is; its SVID is still to be issued.
    pub fn proved(proved: &Proved) -> Self {
        let evidence = proved.evidence();
        let first = evidence.about(EvidenceClass::Node).next();
        Self {
            id: proved.id().clone(),
            attestation_type: first.map(|piece| piece.class().name.to_owned()).unwrap_or_default(),
            serial: String::new(),
            previous_serial: None,
            expires_at: UnixTime::default(),
            attested_at: first.map(Piece::measured_at).unwrap_or_default(),
            evidence_ends_at: evidence.ends_at(),
            selectors: evidence.selectors(EvidenceClass::Node).cloned().collect(),
            banned: false,
            can_reattest: proved.can_reattest(),
            version: String::new(),
            remembered: proved.remembers().map(Into::into),
        }
    }

    /// Its evidence, on which all its requests depend.
    pub fn evidence(&self) -> Result<Evidence, EvidenceError> {
        let selectors = self.selectors.clone();
        node_evidence(&self.attestation_type, self.attested_at, self.evidence_ends_at, selectors)
    }

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
