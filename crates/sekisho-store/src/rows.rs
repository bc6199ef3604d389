//! What an implementation stores of one trust domain, row by row. The meaning of a write is in `execute.rs`, for all of
//! them.

use sekisho_identity::{Entry, Node, Revocation, Revoked};
use sekisho_types::{Digest, EntryId, Revision, SpiffeId, UnixTime};

use crate::{
    AlertRecord, AuthorityRecord, ChangedId, DeviceRecord, Epoch, LogMark, PolicyRecord, SpoolPosition, StoreError,
    TokenRecord,
};

type Done<T = ()> = Result<T, StoreError>;

pub(crate) trait Rows {
    /// The next revision; the first is 1.
    fn next_revision(&mut self) -> Done<Revision>;
    /// Lets revisions go on from `to`. Earlier changes are no longer reported.
    fn jump(&mut self, beyond: Revision, by: u64) -> Done<Revision>;

    fn entry(&mut self, id: &EntryId) -> Done<Option<Entry>>;
    fn entries_under(&mut self, parent: &SpiffeId, spiffe_id: &SpiffeId) -> Done<Vec<Entry>>;
    fn child_ids(&mut self, parent: &SpiffeId) -> Done<Vec<EntryId>>;
    fn put_entry(&mut self, entry: &Entry, revision: Revision) -> Done;
    fn delete_entry(&mut self, id: &EntryId) -> Done;

    fn node(&mut self, id: &SpiffeId) -> Done<Option<Node>>;
    fn put_node(&mut self, node: &Node) -> Done;
    /// And the positions of its spools.
    fn delete_node(&mut self, id: &SpiffeId) -> Done;

    fn device(&mut self, key: &Digest) -> Done<Option<DeviceRecord>>;
    fn put_device(&mut self, device: &DeviceRecord) -> Done;
    /// Keeps what was remembered of this node, and when it was removed, with the devices that are this node.
    fn remove_devices_node(&mut self, node: &Node, at: UnixTime) -> Done;
    fn delete_device(&mut self, key: &Digest) -> Done;
    /// Those that are no node and that were not approved.
    fn waiting_devices(&mut self) -> Done<Vec<DeviceRecord>>;

    /// Oldest first.
    fn alerts_of(&mut self, agent: &SpiffeId) -> Done<Vec<AlertRecord>>;
    fn put_alert(&mut self, alert: &AlertRecord) -> Done;
    fn delete_alert(&mut self, id: &str) -> Done;
    /// Only the newest `keep`.
    fn trim_alerts(&mut self, keep: usize) -> Done;

    fn token(&mut self, hash: &str) -> Done<Option<TokenRecord>>;
    fn put_token(&mut self, token: &TokenRecord) -> Done;
    fn delete_token(&mut self, hash: &str) -> Done;
    /// Those that expired before.
    fn delete_tokens(&mut self, before: Option<UnixTime>) -> Done;

    fn put_authority(&mut self, authority: &AuthorityRecord) -> Done;
    /// Whether there was one.
    fn delete_authority(&mut self, id: &str) -> Done<bool>;

    fn policy(&mut self) -> Done<Option<PolicyRecord>>;
    fn policy_revision(&mut self) -> Done<Option<u64>>;
    fn put_policy(&mut self, policy: &PolicyRecord, keep: usize) -> Done;

    fn revocations(&mut self) -> Done<Vec<Revocation>>;
    /// The revision that revoked this last.
    fn revoked_at(&mut self, what: &Revoked) -> Done<Option<Revision>>;
    /// An earlier one of the same thing may end later; that end stays.
    fn put_revocation(&mut self, revocation: &Revocation) -> Done;
    fn delete_revocations(&mut self, ended_before: UnixTime) -> Done;

    fn spool(&mut self, node: &SpiffeId, spool: &str) -> Done<Option<SpoolPosition>>;
    /// Of each node, only the `keep` spools that were heard of last.
    fn put_spool(&mut self, node: &SpiffeId, spool: &str, position: SpoolPosition, keep: usize) -> Done;

    fn put_former_parent(&mut self, id: &SpiffeId, parent: &SpiffeId, until: UnixTime) -> Done;
    fn delete_former_parents(&mut self, before: UnixTime) -> Done;
    fn put_retention_mark(&mut self, at: UnixTime) -> Done;
    fn put_log_mark(&mut self, mark: &LogMark) -> Done;

    /// From the revision of now on. Only the newest `keep` are kept.
    fn put_epoch(&mut self, epoch: Epoch, keep: usize) -> Done;

    fn push_leaf(&mut self, leaf: &[u8], side: &[u8]) -> Done;
    fn delete_leaves(&mut self, through: i64) -> Done;
    /// Deletes those in `held`, and gives all others new numbers beyond `beyond` and all before, in their order.
    fn settle_leaves(&mut self, held: &[i64], beyond: i64) -> Done;

    /// Writes a row and deletes it.
    fn probe(&mut self) -> Done;

    /// One thing that changes twice under one revision is one row, with all its parents.
    fn put_changed(&mut self, revision: Revision, what: &ChangedId) -> Done;
    /// Deletes the oldest, whole revisions at a time, while there are more than `keep`.
    fn trim_changed(&mut self, keep: usize) -> Done;
}
