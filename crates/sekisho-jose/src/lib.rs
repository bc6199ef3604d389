//! One strict verifier and one minter for JWT-SVIDs (JWT-SVID.md; RFC 7515, RFC 7519).
//!
//! Strict means: compact form only, a closed list of header members and algorithms, and no choice left to
//! the token. This crate knows nothing of bundles' files or of clocks; keys and `now` are arguments.

mod jwt_svid;
mod mint;
mod verify;

pub use jwt_svid::{JwtError, JwtSvid, Rules, TokenKey};
pub use mint::{Mint, signing_input, token};
pub use verify::{claims_unverified, verify_jwt_svid};

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests sign")]
mod tests;
