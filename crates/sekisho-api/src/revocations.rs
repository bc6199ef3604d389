use sekisho_identity::{Revocation, Revoked};
use sekisho_types::{EntryId, SpiffeId};
use serde::{Deserialize, Serialize};

use crate::FormError;

/// Hexadecimal digits of a serial number (RFC 5280 §4.1.2.2: 20 bytes).
const MAX_SERIAL: usize = 40;

/// What to revoke: exactly one of `entry`, `agent`, `spiffe_id` and `serial`. SVIDs that were issued before are
/// refused.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// Id of an entry.
    #[serde(default)]
    pub entry: Option<String>,
    /// SPIFFE ID of an agent: its own SVIDs and all that it asked for. It must attest again.
    #[serde(default)]
    pub agent: Option<String>,
    /// SPIFFE ID of a workload.
    #[serde(default)]
    pub spiffe_id: Option<String>,
    /// Serial number of an X.509-SVID, `jti` of a JWT-SVID, or `iss_…`.
    #[serde(default)]
    pub serial: Option<String>,
    /// One line; it is in the log as a commitment, and peers hear it.
    #[serde(default)]
    pub reason: String,
    /// Only say what would be cut off.
    #[serde(default)]
    pub dry_run: bool,
}

/// The one thing that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationTarget {
    Entry(EntryId),
    Agent(SpiffeId),
    SpiffeId(SpiffeId),
    /// As X.509 and the log have it: lower case, no separators.
    Serial(String),
}

impl RevocationTarget {
    fn serial(text: &str) -> Result<Self, FormError> {
        let digits = text.trim().strip_prefix("iss_").unwrap_or(text.trim()).replace([':', ' '], "").to_lowercase();
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit()) && !digits.is_empty() && digits.len() <= MAX_SERIAL;
        let whole = plain && digits.len().is_multiple_of(2);
        if whole { Ok(Self::Serial(digits)) } else { Err(FormError::Serial(text.to_owned())) }
    }
}

impl RevocationRequest {
    pub fn target(&self) -> Result<RevocationTarget, FormError> {
        let id = |text: &String| SpiffeId::parse(text).map_err(|error| FormError::SpiffeId(text.clone(), error));
        Ok(match (&self.entry, &self.agent, &self.spiffe_id, &self.serial) {
            (Some(entry), None, None, None) => {
                RevocationTarget::Entry(EntryId::parse(entry).map_err(FormError::RevokedEntry)?)
            }
            (None, Some(agent), None, None) => RevocationTarget::Agent(id(agent)?),
            (None, None, Some(spiffe_id), None) => RevocationTarget::SpiffeId(id(spiffe_id)?),
            (None, None, None, Some(serial)) => RevocationTarget::serial(serial)?,
            _ => return Err(FormError::OneTarget),
        })
    }
}

/// What a revocation would cut off.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevocationPlan {
    pub cuts: Vec<String>,
    pub then: String,
    /// Until when it would be kept, in Unix milliseconds.
    pub until_ms: i64,
    /// Whether the server knows the SVID, entry or agent.
    pub known: bool,
}

/// SVIDs that are refused although they have not expired.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevocationForm {
    /// `entry`, `agent`, `spiffe_id` or `serial`.
    pub kind: String,
    /// The entry's id, a SPIFFE ID or a serial number.
    pub what: String,
    /// The SPIFFE ID that the entry gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// Unix milliseconds.
    pub since_ms: i64,
    /// When the last SVID that it can concern expires, in Unix milliseconds.
    pub until_ms: i64,
    /// SVIDs that were issued by an earlier revision are refused.
    pub revision: u64,
    pub reason: String,
}

impl From<&Revocation> for RevocationForm {
    fn from(revocation: &Revocation) -> Self {
        let (kind, what, spiffe_id) = match &revocation.what {
            Revoked::Entry { id, spiffe_id } => ("entry", id.as_str().to_owned(), Some(spiffe_id.to_string())),
            Revoked::Agent(id) => ("agent", id.to_string(), None),
            Revoked::SpiffeId(id) => ("spiffe_id", id.to_string(), None),
            Revoked::Serial(serial) => ("serial", serial.clone(), None),
        };
        Self {
            kind: kind.to_owned(),
            what,
            spiffe_id,
            since_ms: revocation.at.millis(),
            until_ms: revocation.until.millis(),
            revision: revocation.revision.0,
            reason: revocation.reason.clone(),
        }
    }
}

/// The revocations in force, and what each sidecar has applied.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevocationList {
    pub revocations: Vec<RevocationRow>,
    /// Those of connected nodes, and of nodes whose agent's SVID has not expired.
    pub sidecars: Vec<SidecarForm>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevocationRow {
    #[serde(flatten)]
    pub revocation: RevocationForm,
    /// How many of the sidecars have applied it, and how many have not yet.
    pub applied: usize,
    pub waiting: usize,
}

/// A sidecar, or several that speak for one identity on one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SidecarForm {
    pub agent: String,
    /// Of its workload.
    pub spiffe_id: String,
    /// It has applied the revocations of this revision and of all earlier ones.
    pub applied_revision: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_exactly_one_target() {
        let none = RevocationRequest::default();
        assert!(matches!(none.target(), Err(FormError::OneTarget)));
        let one = RevocationRequest { serial: Some("ab".into()), ..Default::default() };
        assert_eq!(one.target().unwrap(), RevocationTarget::Serial("ab".into()));
        let two = RevocationRequest { agent: Some("spiffe://td/n".into()), ..one };
        assert!(matches!(two.target(), Err(FormError::OneTarget)));
    }

    #[test]
    fn serial_numbers_are_read_in_each_notation() {
        for text in ["iss_019a0b", "019A0B", "01:9a:0b", " 019a0b "] {
            assert_eq!(RevocationTarget::serial(text).unwrap(), RevocationTarget::Serial("019a0b".into()), "{text}");
        }
        for text in ["", "iss_", "0x01", "1", "zz", &"00".repeat(21), "dec_01"] {
            assert!(RevocationTarget::serial(text).is_err(), "{text}");
        }
    }
}
