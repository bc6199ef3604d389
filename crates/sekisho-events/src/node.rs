//! What sidecars and agents record: decisions, and refusals made on a node. They wait in a spool, and a server keeps
//! them as they were made, below a leaf with the root of their batch.
//!
//! A record is canonical JSON, and its bytes are what a proof covers: none is encoded again once it was made. So a
//! reader passes over members that it does not know, and a record is shown by its own bytes.

mod class;
mod decode;
mod encode;
mod form;
mod head;
mod id;
mod kinds;
mod reference;

pub use class::RecordClass;
pub use decode::NodeEventError;
pub use head::RecordHead;
pub use id::RecordId;
pub use kinds::{CallRefused, Decided, NearestEntry, NoIdentity, NodeEvent, PeerRefused};
pub use reference::node_reference;

#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod tests;
