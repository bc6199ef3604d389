//! Join tokens: shown once, stored as a hash, spent by one atomic write (law L4).

use sekisho_types::Digest;

/// Shortest token accepted, so that none can be guessed.
pub const MIN_TOKEN_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a join token has 16 to 128 characters of a-z, A-Z, 0-9 and `-`")]
pub struct TokenError;

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
