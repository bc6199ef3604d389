//! Where an SVID comes from: the entry, the agent and the revision at which it was issued, so that each verifier can
//! tell whether a revocation concerns it (`docs/decisions/0022`).
//!
//! A non-critical extension of the claims' form, version 1, with the names `agent`, `entry`, `required` and `revision`.
//! A reader skips names that it does not know: they can only add ways to be revoked that this reader has no records
//! for. A JWT-SVID holds the same names as members of one claim, but for `required`: no policy is decided by it.

use sekisho_types::{ClaimValue, Claims, EntryId, Revision, SpiffeId};
use serde_json::{Map, Value};

use crate::claims_extension;
use crate::der::{self, Der};

/// Beside the claims' own identifier.
pub const ISSUANCE_OID: [u32; 4] = [2, 999, 7355, 2];

/// The claim of a JWT-SVID that says the same.
pub const ISSUANCE_CLAIM: &str = "sekisho_issuance";

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
    /// The newest revision that changed the policy or revoked something: an agent serves this SVID once it has applied
    /// the state of that revision (`docs/decisions/0056`). Absent in a server's SVID and in those of earlier releases.
    pub required: Option<Revision>,
}

pub(crate) fn is_ours(oid: &[u8]) -> bool {
    der::written(|der| der.oid(&ISSUANCE_OID)).get(2..) == Some(oid)
}

pub(crate) fn write(issuance: &Issuance, der: &mut Der) {
    let mut names = Claims::default();
    if let Some(key) = issuance.agent {
        names.set("agent", ClaimValue::Text(key.to_string()));
    }
    if let Some(entry) = &issuance.entry {
        names.set("entry", ClaimValue::Text(entry.as_str().to_owned()));
    }
    let number = |revision: Revision| ClaimValue::Integer(i64::try_from(revision.0).unwrap_or(i64::MAX));
    if let Some(required) = issuance.required {
        names.set("required", number(required));
    }
    names.set("revision", number(issuance.revision));
    claims_extension::write(&names, der);
}

/// Reads the extension's value, or `None` when any of it is not as written above.
pub(crate) fn decode(bytes: &[u8]) -> Option<Issuance> {
    from_names(&claims_extension::decode(bytes)?)
}

/// The value of a JWT-SVID's claim.
pub fn issuance_to_claim(issuance: &Issuance) -> Value {
    let mut claim = Map::new();
    claim.insert("revision".into(), issuance.revision.0.into());
    claim.extend(issuance.agent.map(|key| ("agent".to_owned(), key.to_string().into())));
    claim.extend(issuance.entry.as_ref().map(|entry| ("entry".to_owned(), entry.as_str().into())));
    Value::Object(claim)
}

/// Reads the value of a JWT-SVID's claim, or `None` when any of it is not as written above.
pub fn issuance_from_claim(claim: &Value) -> Option<Issuance> {
    let mut names = Claims::default();
    for name in ["agent", "entry", "revision"] {
        match claim.as_object()?.get(name) {
            Some(Value::String(text)) => names.set(name, ClaimValue::Text(text.clone())),
            Some(number) => names.set(name, ClaimValue::Integer(number.as_i64()?)),
            None => {}
        }
    }
    from_names(&names)
}

fn from_names(names: &Claims) -> Option<Issuance> {
    let number = |value: &ClaimValue| match value {
        ClaimValue::Integer(number) => u64::try_from(*number).ok().map(Revision),
        _ => None,
    };
    let entry = names.get("entry").map(|entry| match entry {
        ClaimValue::Text(id) => EntryId::parse(id).ok(),
        _ => None,
    });
    let agent = names.get("agent").map(|agent| match agent {
        ClaimValue::Text(key) => hex::decode(key).ok()?.try_into().ok().map(AgentKey),
        _ => None,
    });
    Some(Issuance {
        revision: names.get("revision").and_then(number)?,
        // Present and unreadable is not absent (law L3).
        entry: entry.map_or(Some(None), |entry| entry.map(Some))?,
        agent: agent.map_or(Some(None), |agent| agent.map(Some))?,
        required: names.get("required").map(number).map_or(Some(None), |required| required.map(Some))?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issuance_survives_and_other_bytes_do_not() {
        let agent = SpiffeId::parse("spiffe://example.org/spire/agent/one").unwrap();
        let whole = Issuance {
            revision: Revision(1 << 40),
            entry: Some(EntryId::parse("ent_1").unwrap()),
            agent: Some(AgentKey::of(&agent)),
            required: Some(Revision(7)),
        };
        let bare = Issuance { revision: Revision(0), entry: None, agent: None, required: None };
        for issuance in [whole, bare] {
            let bytes = der::written(|der| write(&issuance, der));
            assert_eq!(decode(&bytes).as_ref(), Some(&issuance));
            let of_token = Issuance { required: None, ..issuance };
            assert_eq!(issuance_from_claim(&issuance_to_claim(&of_token)), Some(of_token));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
            }
        }
        let encode = |names: &Claims| der::written(|der| claims_extension::write(names, der));
        for (name, value) in [
            ("agent", ClaimValue::Text("00".into())),
            ("agent", ClaimValue::Bool(true)),
            ("entry", ClaimValue::Text("no id".into())),
            ("required", ClaimValue::Integer(-1)),
            ("required", ClaimValue::Text("1".into())),
            ("revision", ClaimValue::Integer(-1)),
            ("revision", ClaimValue::Text("1".into())),
        ] {
            let mut names = Claims::default();
            names.set("revision", ClaimValue::Integer(1));
            names.set(name, value);
            assert_eq!(decode(&encode(&names)), None, "{name}");
        }
        assert_eq!(decode(&encode(&Claims::default())), None, "no revision");
        for claim in [
            json!({}),
            json!([]),
            json!("1"),
            json!({"revision": -1}),
            json!({"revision": 1.5}),
            json!({"revision": 1, "entry": null}),
            json!({"revision": 1, "entry": "no id"}),
            json!({"revision": 1, "agent": 7}),
        ] {
            assert_eq!(issuance_from_claim(&claim), None, "{claim}");
        }
        assert!(issuance_from_claim(&json!({"revision": 1, "later": [true]})).is_some());
    }
}
