//! Personal values are logged as salted commitments. Destroying nonce and value erases the person from the
//! log while every proof still holds.

use std::fmt;

use crate::{Hash, sha256};

const DOMAIN: &[u8] = b"sekisho-commitment/v1\0";

/// SHA-256(domain ‖ field name ‖ 0 ‖ 32-byte nonce ‖ value).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment(Hash);

/// What opens a commitment. Whoever has it can show the value; without it the commitment says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    pub field: String,
    pub nonce: [u8; 32],
    pub value: String,
}

impl Opening {
    pub fn commitment(&self) -> Commitment {
        Commitment(sha256(&[DOMAIN, self.field.as_bytes(), &[0], &self.nonce, self.value.as_bytes()]))
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256c:{}", hex::encode(self.0))
    }
}
