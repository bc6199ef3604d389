//! The vocabulary of Sekisho: values that are parsed once and are valid from then on.
//!
//! This crate knows nothing of wire formats, files, sockets or clocks, and nothing in it serialises
//! itself: protobuf, SQL, JSON and configuration forms live at the edge that owns them. The one JSON here is
//! the strict reader that several layers share.

mod claims;
mod digest;
mod effect;
mod endpoint;
mod evidence;
mod hex;
mod id;
mod json;
mod secret;
mod selector;
mod selector_set;
mod signer;
mod spiffe_id;
mod time;
mod trust;

pub use claims::{ClaimName, ClaimValue, Claims};
pub use digest::{Digest, DigestError};
pub use effect::Effect;
pub use endpoint::unix_endpoint;
pub use evidence::EvidenceClass;
pub use hex::HexDigits;
pub use id::{EntryId, IdError, Revision};
pub use json::{JsonError, parse_strict_json};
pub use secret::Secret;
pub use selector::{Selector, SelectorError};
pub use selector_set::SelectorSet;
pub use signer::{SignError, SignatureAlgorithm, Signer};
pub use spiffe_id::{SpiffeId, SpiffeIdError, TrustDomain};
pub use time::UnixTime;
pub use trust::{Claimed, Verified};
