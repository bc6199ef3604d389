//! Join tokens: shown once, stored as a hash, spent by one atomic write (law L4).

use sekisho_types::{Digest, EvidenceClass, Secret};

use super::attestor::{NodeAttestor, NodeError, NodeProof, OneTime, Session, Step, VerifierInputs};
use crate::{Age, Class};

/// The node showed a token: nothing of its hardware.
pub static JOIN_TOKEN: Class = Class {
    name: "join_token",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: false,
    selectors: &[],
    claims: &[],
};

/// Shortest token accepted, so that none can be guessed.
pub const MIN_TOKEN_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a join token has 16 to 128 characters of a-z, A-Z, 0-9 and `-`")]
pub struct TokenError;

impl From<TokenError> for NodeError {
    fn from(error: TokenError) -> Self {
        Self::Refused(error.into())
    }
}

/// A token becomes part of the agent's SPIFFE ID, so it is held to the characters of one path segment
/// (Cure53 SPI-01: path traversal by join token).
pub fn check_token(token: &str) -> Result<(), TokenError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if (MIN_TOKEN_BYTES..=128).contains(&token.len()) && token.bytes().all(legal) { Ok(()) } else { Err(TokenError) }
}

/// What is stored of a token.
pub fn token_hash(token: &str) -> Digest {
    crate::sha256(token.as_bytes())
}

pub(super) struct JoinToken;

impl NodeAttestor for JoinToken {
    fn class(&self) -> &'static Class {
        &JOIN_TOKEN
    }

    fn begin(&self, payload: &[u8], _: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let token = std::str::from_utf8(payload).map_err(|_| TokenError)?;
        check_token(token)?;
        Ok(Step::Spend(OneTime::new(&JOIN_TOKEN, token_hash(token))))
    }
}

/// The agent's side: the token alone.
pub struct JoinTokenProof(pub Secret<Vec<u8>>);

impl NodeProof for JoinTokenProof {
    fn class(&self) -> &'static Class {
        &JOIN_TOKEN
    }

    fn payload(&self, _: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        Ok(self.0.expose().clone())
    }

    fn answer(&self, _: &[u8], _: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        Err(NodeError::NoChallenge("a join token"))
    }

    fn one_time(&self) -> Option<Digest> {
        Some(crate::sha256(self.0.expose()))
    }

    fn can_repeat(&self) -> bool {
        false
    }
}
