//! What is to be written, as a value: what must hold in the transaction, what is written, and what is recorded of it.
//!
//! A batch is prepared from a view that may be stale. It says what it relied on, and the store checks that in the same
//! transaction: a write of a stale view fails with a [`Conflict`] and changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use sekisho_events::{Event, Leaf, LeafError};
use sekisho_identity::{Entry, Node, Revocation, Revoked, Standing};
use sekisho_types::{Digest, EntryId, Revision, SpiffeId, TrustDomain, UnixTime};

use crate::{AlertRecord, AuthorityRecord, Epoch, LogMark, PolicyRecord, SpoolPosition, TokenRecord};

/// A condition that must hold in the transaction.
#[derive(Debug, Clone)]
pub enum Expect {
    /// No entry has this id.
    NoEntry(EntryId),
    /// The entry exists and is as it was read.
    Entry(EntryVersion),
    /// No other entry gives the same identity for the same parent and selectors.
    Unregistered(Arc<Entry>),
    /// The entries whose parent is `parent` are these.
    Children { parent: SpiffeId, ids: BTreeSet<EntryId> },
    /// The node is as it was read; `None` if it is not known.
    Node { id: SpiffeId, is: Option<Arc<Node>> },
    /// The agent is not banned, and the SVID with this serial number is its own.
    Standing { agent: SpiffeId, serial: String },
    /// The entry that makes the writer an operator is as it was read, and nothing that its SVID is of was revoked since
    /// `judged_at`.
    Operator { entry: EntryVersion, revocable: Vec<Revoked>, judged_at: Revision },
    /// The device with this key is this node, or none yet; the node was not removed at or after `since`; and an
    /// operator allows the device, if it has to be `approved`.
    Device { key: Digest, node: SpiffeId, since: UnixTime, approved: bool },
    /// A join token with this hash is unused, and has not expired at `at`.
    Token { hash: String, at: UnixTime },
    /// No join token has this hash.
    NoToken(String),
    /// The revision of the policy in force.
    Policy(Option<u64>),
    /// Up to where a node's spool was recorded.
    Spool { node: SpiffeId, spool: String, is: Option<SpoolPosition> },
}

/// An entry as it was at some time: an id that is used again is another entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryVersion {
    pub id: EntryId,
    pub revision_number: i64,
    pub created_at: UnixTime,
}

impl EntryVersion {
    pub fn of(entry: &Entry) -> Self {
        Self { id: entry.id.clone(), revision_number: entry.revision_number, created_at: entry.created_at }
    }
}

/// One write. A write that changes what agents are sent takes the revision of the batch; a renewal or a position does
/// not.
#[derive(Debug, Clone)]
pub enum Write {
    PutEntry(Arc<Entry>),
    RemoveEntry(EntryId),
    /// Takes a revision: how an agent is seen by others.
    PutNode(Arc<Node>),
    /// The agent's SVID was renewed, or the one before is no longer good.
    RenewNode {
        id: SpiffeId,
        serial: String,
        previous_serial: Option<String>,
        expires_at: UnixTime,
    },
    /// What the agent says of its program.
    NodeVersion {
        id: SpiffeId,
        version: String,
    },
    /// The agent proved its state again, and is seen by others as before.
    NodeState(Arc<Node>),
    /// What only it had is removed with it: the positions of its spools. Its device keeps what was remembered of it.
    RemoveNode {
        id: SpiffeId,
        at: UnixTime,
    },
    /// The device is this node from now on, and was seen.
    BindDevice {
        key: Digest,
        node: SpiffeId,
        about: String,
        at: UnixTime,
    },
    /// A device of this network waits for an operator's approval. Of more than `keep` that wait, the network with the
    /// most loses the one that was seen longest ago.
    SeeDevice {
        key: Digest,
        about: String,
        network: String,
        at: UnixTime,
        keep: usize,
    },
    /// An operator allows a device, or no longer does.
    ApproveDevice {
        key: Digest,
        by: Option<String>,
        at: UnixTime,
    },
    /// Of all alerts, only the newest `keep` are kept, and `keep_of_agent` of one agent: its oldest one counts those
    /// before it.
    PutAlert {
        alert: AlertRecord,
        keep: usize,
        keep_of_agent: usize,
    },
    PutToken(TokenRecord),
    /// Removes a token because it was used: what is issued for it shows a revision that an older database does not know
    /// (law L4).
    SpendToken(String),
    RemoveToken(String),
    RemoveAllTokens,
    RemoveTokensBefore(UnixTime),
    /// The record's server is the one that writes.
    PutAuthority(Box<AuthorityRecord>),
    RemoveAuthority(String),
    /// Stores a policy under the revision after the newest policy's, and deletes all but the newest `keep`.
    PutPolicy {
        policy: PolicyRecord,
        keep: usize,
    },
    /// Revokes SVIDs issued before this batch's revision. Revocations that no SVID can need any more are deleted with
    /// it.
    Revoke {
        what: Revoked,
        reason: String,
        at: UnixTime,
        until: UnixTime,
    },
    PutSpool {
        node: SpiffeId,
        spool: String,
        position: SpoolPosition,
    },
    /// Agents of `parent` served `id` until now.
    PutFormerParent {
        id: SpiffeId,
        parent: SpiffeId,
        until: UnixTime,
    },
    RemoveFormerParentsBefore(UnixTime),
    /// The time by which things are deleted now.
    MarkRetention(UnixTime),
    /// How far the log has come, so that an older copy of it is noticed.
    MarkLog(LogMark),
    /// A run of a server begins. Its first write: what it writes later belongs to it.
    BeginEpoch(Epoch),
    /// The ledger has made this server's leaves durable, up to this one.
    Drained(i64),
    /// Of this server's leaves the ledger holds these, and none of the others. Numbers go on beyond `beyond`, those of
    /// the others too.
    SettleOutbox {
        held: Vec<i64>,
        beyond: i64,
    },
    /// Writes what is deleted with it: whether the store takes a change now.
    Probe,
    /// Takes a revision far beyond `floor` and beyond all before. The policy in force is stored under it again, since
    /// sidecars take no older one than they hold; revocations of revisions after `since` are renewed, since what they
    /// concern may have been issued at revisions up to `floor`.
    JumpBeyond {
        floor: Revision,
        since: Revision,
    },
}

/// One change of a batch: all of it is written, or, if something does not hold that it expects, nothing of it.
#[derive(Debug, Clone, Default)]
pub struct Item {
    pub(crate) expects: Vec<Expect>,
    pub(crate) writes: Vec<Write>,
    pub(crate) leaves: Vec<Leaf>,
}

impl Item {
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expects.push(expect);
        self
    }

    #[must_use]
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Before all else that it expects: a writer that may not write learns nothing of the rest.
    #[must_use]
    pub fn expect_first(mut self, expect: Option<Expect>) -> Self {
        self.expects.splice(..0, expect);
        self
    }

    /// The leaf goes into the outbox of the same transaction, with the batch's revision.
    #[must_use]
    pub fn record(mut self, leaf: Leaf) -> Self {
        self.leaves.push(leaf);
        self
    }

    /// Whether it takes a right away.
    pub fn revokes(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::Revoke { .. }))
    }

    /// What it records.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.leaves.iter().map(|leaf| &leaf.event)
    }
}

impl From<Write> for Item {
    fn from(write: Write) -> Self {
        Self::default().write(write)
    }
}

/// Changes of one trust domain that are committed together, under one revision. One that conflicts keeps no other out.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) items: Vec<Item>,
}

impl Batch {
    pub fn new(trust_domain: &TrustDomain, items: Vec<Item>) -> Self {
        Self { trust_domain: trust_domain.clone(), items }
    }

    pub fn of(trust_domain: &TrustDomain, item: impl Into<Item>) -> Self {
        Self::new(trust_domain, vec![item.into()])
    }
}

/// Why a change was not written: the state is not as it was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("entry id `{0}` is taken")]
    EntryExists(EntryId),
    #[error("entry `{0}` was changed or deleted meanwhile")]
    EntryChanged(EntryId),
    #[error("entry `{}` registers the same identity for the same parent and selectors", .0.id)]
    Registered(Arc<Entry>),
    #[error("the entries below `{0}` changed meanwhile")]
    ChildrenChanged(SpiffeId),
    #[error("agent `{0}` changed meanwhile")]
    NodeChanged(SpiffeId),
    #[error("agent `{agent}` may not write")]
    Standing { agent: SpiffeId, standing: Standing },
    #[error("the entry of this operator changed meanwhile")]
    OperatorChanged,
    #[error("the device with the key {0} is another node, permanently")]
    DeviceTaken(Digest),
    #[error("the node of the device with the key {0} was removed while it attested; it attests again")]
    DeviceRemoved(Digest),
    #[error("no operator allows the device with the key {0} any more")]
    DeviceNotApproved(Digest),
    #[error("the join token is unknown, was used or has expired")]
    Token,
    #[error("a join token with this value exists; create one with another value")]
    TokenExists,
    #[error("the policy changed meanwhile")]
    PolicyChanged,
    #[error("the spool was recorded further meanwhile")]
    SpoolMoved,
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

impl Conflict {
    /// Whether the change may succeed when it is prepared again from the state as it is now.
    pub const fn is_stale(&self) -> bool {
        match self {
            Self::EntryChanged(_)
            | Self::ChildrenChanged(_)
            | Self::NodeChanged(_)
            | Self::OperatorChanged
            | Self::PolicyChanged
            | Self::SpoolMoved => true,
            Self::EntryExists(_)
            | Self::Registered(_)
            | Self::Standing { .. }
            | Self::DeviceTaken(_)
            | Self::DeviceRemoved(_)
            | Self::DeviceNotApproved(_)
            | Self::Token
            | Self::TokenExists
            | Self::Leaf(_) => false,
        }
    }
}

/// A batch that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// `None` if nothing in it takes one.
    pub revision: Option<Revision>,
    /// Of each change, in order.
    pub outcomes: Vec<Result<(), Conflict>>,
}

impl Committed {
    /// Of a batch with one change.
    pub fn only(self) -> Result<Option<Revision>, Conflict> {
        self.outcomes.into_iter().collect::<Result<Vec<()>, _>>().map(|_| self.revision)
    }
}

/// What a commit changed, for those who keep a view of the state.
#[derive(Debug, Clone)]
pub struct Delta {
    pub trust_domain: TrustDomain,
    pub revision: Option<Revision>,
    pub changes: Vec<Change>,
    /// How many leaves it put into the outbox.
    pub leaves: u32,
}

#[derive(Debug, Clone)]
pub enum Change {
    Entry(Arc<Entry>),
    EntryRemoved(EntryId),
    Node(Arc<Node>),
    NodeRemoved(SpiffeId),
    Authorities,
    Policy(Arc<PolicyRecord>),
    Revoked(Arc<Revocation>),
}
