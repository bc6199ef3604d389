//! The store as its users see it. Each implementation gives the same answers; one suite of tests runs against all of
//! them.

use std::pin::Pin;
use std::sync::Arc;

use sekisho_identity::{Entry, Node, Revocation};
use sekisho_types::{Digest, Revision, SpiffeId, TrustDomain, UnixTime};

use crate::{
    AlertRecord, AuthorityRecord, Batch, Committed, Delta, DeviceRecord, History, LogMark, OutboxLeaf, Past,
    PolicyRecord, ServerId, SpoolPosition, StoreError, TokenRecord,
};

/// An answer that is being worked on.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Hears of each commit, in order and before the caller of that commit goes on.
pub type Observer = Box<dyn Fn(&Delta) + Send + Sync>;

/// Durable state with gapless revisions, as one server sees it.
pub trait Store: Send + Sync {
    /// The server that writes through this handle.
    fn server(&self) -> &ServerId;

    /// Writes a batch. It is durable when this is answered.
    fn commit(&self, batch: Batch) -> Answer<'_, Committed>;

    fn observe(&self, observer: Observer);

    /// What a view of the state is made from, all at one revision.
    fn snapshot(&self, td: &TrustDomain) -> Answer<'_, Snapshot>;

    /// What changed after `since`, while that is known.
    fn history(&self, td: &TrustDomain, since: Revision) -> Answer<'_, History>;

    /// The newest changes, `at_most` of them and whole revisions, and the runs of servers.
    fn past(&self, td: &TrustDomain, at_most: usize) -> Answer<'_, Past>;

    fn revision(&self, td: &TrustDomain) -> Answer<'_, Revision>;

    /// The authorities of all servers, and the revision at which they were read.
    fn authorities(&self, td: &TrustDomain) -> Answer<'_, (Revision, Vec<AuthorityRecord>)>;

    fn marks(&self, td: &TrustDomain) -> Answer<'_, Marks>;

    /// Join tokens that were not used.
    fn tokens(&self, td: &TrustDomain) -> Answer<'_, Vec<TokenRecord>>;

    fn token(&self, td: &TrustDomain, hash: &str) -> Answer<'_, Option<TokenRecord>>;

    /// Devices by which nodes prove themselves, and those that wait for approval.
    fn devices(&self, td: &TrustDomain) -> Answer<'_, Vec<DeviceRecord>>;

    fn device(&self, td: &TrustDomain, key: &Digest) -> Answer<'_, Option<DeviceRecord>>;

    /// Alerts after one of them, oldest first; without one, the newest. At most `limit`.
    fn alerts(&self, td: &TrustDomain, after: Option<&str>, limit: usize) -> Answer<'_, Vec<AlertRecord>>;

    /// The newest policy, or the one of `revision`.
    fn policy(&self, td: &TrustDomain, revision: Option<u64>) -> Answer<'_, Option<PolicyRecord>>;

    /// Up to where a node's spool was recorded; `None` if it was never heard of.
    fn spool(&self, td: &TrustDomain, node: &SpiffeId, spool: &str) -> Answer<'_, Option<SpoolPosition>>;

    /// The parents whose agents once served `id`, and until when.
    fn former_parents(&self, td: &TrustDomain, id: &SpiffeId) -> Answer<'_, Vec<(SpiffeId, UnixTime)>>;

    /// Leaves of this server that wait for its ledger, in order.
    fn outbox(&self, td: &TrustDomain, limit: usize) -> Answer<'_, Vec<OutboxLeaf>>;

    /// How many leaves of this server wait for its ledger.
    fn outbox_length(&self, td: &TrustDomain) -> Answer<'_, u64>;

    /// Overwrites what was deleted before.
    fn wipe(&self) -> Answer<'_, ()>;
}

#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub revision: Revision,
    pub entries: Vec<Arc<Entry>>,
    pub nodes: Vec<Arc<Node>>,
    pub policy: Option<Arc<PolicyRecord>>,
    pub revocations: Vec<Arc<Revocation>>,
}

/// What is remembered of the log and of the clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// How far the log had come when that was last remembered.
    pub log: Option<LogMark>,
    /// The time by which things were last deleted.
    pub retention: Option<UnixTime>,
    /// The highest number that was given to a leaf; a database that was restored does not know it.
    pub last_leaf: i64,
}
