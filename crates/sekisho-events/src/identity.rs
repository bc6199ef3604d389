use sekisho_types::{EntryId, SpiffeId, UnixTime};

use crate::kinds::Event;
use crate::personal::Personal;

/// The identity that an attestation or an issuance gave, and its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the attestation or issuance.
    pub log_id: String,
    /// What was given, for people.
    pub what: &'static str,
    /// `None` if what opens the leaf's commitment was erased.
    pub spiffe_id: Option<SpiffeId>,
    pub entry: Option<EntryId>,
    pub not_after: Option<UnixTime>,
}

impl Event {
    pub fn is_key_event(&self) -> bool {
        self.kind() == "key-event"
    }

    /// The identity that the event gave, if it is an attestation or an issuance.
    pub fn identity(&self) -> Option<Identity> {
        let open = |id: &Personal<SpiffeId>| id.value().cloned();
        Some(match self {
            Self::Attested(attested) => Identity {
                log_id: attested.id.to_string(),
                what: "attestation",
                spiffe_id: open(&attested.agent),
                entry: None,
                not_after: None,
            },
            Self::X509Issued(issued) => Identity {
                log_id: issued.id.to_string(),
                what: "X.509-SVID",
                spiffe_id: open(&issued.spiffe_id),
                entry: issued.entry.clone(),
                not_after: Some(issued.not_after),
            },
            Self::JwtIssued(issued) => Identity {
                log_id: issued.id.to_string(),
                what: "JWT-SVID",
                spiffe_id: open(&issued.spiffe_id),
                entry: issued.entry.clone(),
                not_after: Some(issued.not_after),
            },
            _ => return None,
        })
    }
}
