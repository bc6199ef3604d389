//! Everything that is recorded, as types: one enum of events, one encoder and one decoder.
//!
//! `kinds.rs` declares each event of the log and its members once; encoder, decoder, reference (`docs/formats.md`),
//! samples for tests and fuzzing all follow from that declaration. `node/` does the same for what sidecars and agents
//! record. Readers match on [`Event`] and [`NodeEvent`]; none looks a member up by its name.
//!
//! This crate knows nothing of files, clocks or randomness: the nonce of a commitment comes with the value.

mod commitment;
mod counter;
mod declare;
mod error;
mod identity;
mod kinds;
mod leaf;
mod member;
mod node;
mod personal;
mod receipt;
mod reference;
mod settings;
mod words;

pub use commitment::{Commitment, Opening};
pub use counter::Counter;
pub use error::LeafError;
pub use identity::Identity;
pub use kinds::*;
pub use leaf::{Encoded, Leaf, openings_of};
pub use node::{
    CallRefused, Decided, NearestEntry, NoIdentity, NodeEvent, NodeEventError, PeerRefused, RecordClass, RecordHead,
    RecordId, node_reference,
};
pub use personal::Personal;
pub use receipt::{Receipt, ReceiptError, Subject, VerifiedReceipt};
pub use reference::reference;
pub use settings::SettingList;
pub use words::{
    AlertId, AttestationId, DecisionId, IssuanceId, IssuanceIds, LostSince, RefusalId, Selectors, TokenId,
};

#[cfg(test)]
mod tests;
