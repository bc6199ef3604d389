//! Personal data is logged as a salted hash (a commitment). Erasing nonce and value erases the person from the log, and
//! every proof stays valid.

use std::fmt;

use sekisho_ledger::{Hash, sha256_of};

const DOMAIN: &[u8] = b"sekisho-commitment/v1\0";
const PREFIX: &str = "sha256c:";

/// SHA-256(domain ‖ field name ‖ 0 ‖ 32-byte nonce ‖ value).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment(Hash);

/// The opening of a commitment: nonce and value. Without it the commitment reveals nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    pub field: String,
    pub nonce: [u8; 32],
    pub value: String,
}

impl Opening {
    pub fn commitment(&self) -> Commitment {
        Commitment(sha256_of(&[DOMAIN, self.field.as_bytes(), &[0], &self.nonce, self.value.as_bytes()].concat()))
    }
}

impl Commitment {
    /// `None` unless `text` is the one text of a commitment.
    pub fn parse(text: &str) -> Option<Self> {
        let hash: Hash = hex::decode(text.strip_prefix(PREFIX)?).ok()?.try_into().ok()?;
        Some(Self(hash)).filter(|commitment| commitment.to_string() == text)
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}
