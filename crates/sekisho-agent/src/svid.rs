//! The SVIDs that an agent has: its own, and those that it keeps for processes.

use sekisho_net::Identity;
use sekisho_types::{Digest, EntryId, SpiffeId, UnixTime};

/// An SVID held for a process, with when to renew it.
#[derive(Clone)]
pub(crate) struct CachedSvid {
    pub spiffe_id: SpiffeId,
    pub identity: Identity,
    pub not_after: UnixTime,
    pub renew_at: UnixTime,
    pub hint: String,
    pub log_index: u64,
    /// Of the entry as it stood when this was issued.
    pub entry_revision: i64,
}

/// Which SVIDs may be shared: those of one entry for processes of equal measurement.
pub(crate) type SvidKey = (EntryId, Digest);

/// The agent's own SVID.
#[derive(Clone)]
pub(crate) struct AgentSvid {
    pub id: SpiffeId,
    pub identity: Identity,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
}
