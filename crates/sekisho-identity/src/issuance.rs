//! Where an X.509-SVID comes from: the entry, the agent and the revision at which it was issued, so that each verifier can
//! tell whether a revocation concerns it (`docs/decisions/0022`).
//!
//! A non-critical extension of the claims' form, version 1, with the names `agent`, `entry` and `revision`. A reader skips
//! names that it does not know: they can only add ways to be revoked that this reader has no records for.

use sekisho_types::{ClaimValue, Claims, EntryId, Revision, SpiffeId};

use crate::{claims_extension, der};

/// Beside the claims' own identifier.
pub const ISSUANCE_OID: [u32; 4] = [2, 999, 7355, 2];

/// The first 128 bits of the SHA-256 of an agent's SPIFFE ID: peers need not learn the names of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentKey([u8; 16]);

impl AgentKey {
    pub fn of(agent: &SpiffeId) -> Self {
        let digest = crate::sha256(agent.to_string().as_bytes());
        Self(digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default())
    }
}

impl std::fmt::Display for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Where an SVID comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuance {
    /// The revision of the state by which the gate allowed it.
    pub revision: Revision,
    /// Absent for the SVIDs of agents and servers.
    pub entry: Option<EntryId>,
    /// The agent that asked, or whose own SVID it is. Absent for a server's.
    pub agent: Option<AgentKey>,
}

pub(crate) fn is_ours(oid: &[u8]) -> bool {
    der::oid(&ISSUANCE_OID).get(2..) == Some(oid)
}

pub(crate) fn encode(issuance: &Issuance) -> Vec<u8> {
    let mut names = Claims::default();
    if let Some(key) = issuance.agent {
        names.set("agent", ClaimValue::Text(key.to_string()));
    }
    if let Some(entry) = &issuance.entry {
        names.set("entry", ClaimValue::Text(entry.as_str().to_owned()));
    }
    let revision = i64::try_from(issuance.revision.0).unwrap_or(i64::MAX);
    names.set("revision", ClaimValue::Integer(revision));
    claims_extension::encode(&names)
}

/// Reads the extension's value, or `None` when any of it is not as written above.
pub(crate) fn decode(bytes: &[u8]) -> Option<Issuance> {
    let names = claims_extension::decode(bytes)?;
    let Some(ClaimValue::Integer(revision)) = names.get("revision") else { return None };
    let entry = names.get("entry").map(|entry| match entry {
        ClaimValue::Text(id) => EntryId::parse(id).ok(),
        _ => None,
    });
    let agent = names.get("agent").map(|agent| match agent {
        ClaimValue::Text(key) => hex::decode(key).ok()?.try_into().ok().map(AgentKey),
        _ => None,
    });
    Some(Issuance {
        revision: Revision(u64::try_from(*revision).ok()?),
        // Present and unreadable is not absent (law L3).
        entry: entry.map_or(Some(None), |entry| entry.map(Some))?,
        agent: agent.map_or(Some(None), |agent| agent.map(Some))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuance_survives_and_other_bytes_do_not() {
        let agent = SpiffeId::parse("spiffe://example.org/spire/agent/one").unwrap();
        let whole = Issuance {
            revision: Revision(1 << 40),
            entry: Some(EntryId::parse("ent_1").unwrap()),
            agent: Some(AgentKey::of(&agent)),
        };
        let bare = Issuance { revision: Revision(0), entry: None, agent: None };
        for issuance in [whole, bare] {
            let bytes = encode(&issuance);
            assert_eq!(decode(&bytes), Some(issuance));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
            }
        }
        for (name, value) in [
            ("agent", ClaimValue::Text("00".into())),
            ("agent", ClaimValue::Bool(true)),
            ("entry", ClaimValue::Text("no id".into())),
            ("revision", ClaimValue::Integer(-1)),
            ("revision", ClaimValue::Text("1".into())),
        ] {
            let mut names = Claims::default();
            names.set("revision", ClaimValue::Integer(1));
            names.set(name, value);
            assert_eq!(decode(&claims_extension::encode(&names)), None, "{name}");
        }
        assert_eq!(decode(&claims_extension::encode(&Claims::default())), None, "no revision");
    }
}
