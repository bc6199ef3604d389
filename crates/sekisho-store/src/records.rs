use std::fmt;
use std::sync::Arc;

use sekisho_types::{Digest, EntryId, Revision, SpiffeId, UnixTime};

/// A server among those that share a state: each has authorities and a log of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(Arc<str>);

impl ServerId {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The one server of an embedded database.
    pub fn local() -> Self {
        Self::new("local")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An authority's metadata; its keys are files that `sekisho-keys` owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityRecord {
    pub id: String,
    /// The server that holds its keys.
    pub server: ServerId,
    /// `prepared`, `active` or `old`.
    pub slot: String,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    pub signed_until: UnixTime,
    /// DER.
    pub certificate: Vec<u8>,
    pub serial: [u8; 16],
    /// DER SubjectPublicKeyInfo of the key that signs JWT-SVIDs.
    pub jwt_public_key: Vec<u8>,
}

/// A policy revision with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    pub revision: u64,
    pub digest: Digest,
    pub at: UnixTime,
    /// Names and texts.
    pub files: Vec<(String, String)>,
}

/// A join token that can still be used, or has expired. The token itself is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// SHA-256, as hexadecimal.
    pub hash: String,
    /// The agent that will attest with it.
    pub agent_id: SpiffeId,
    pub expires_at: UnixTime,
}

/// A device by which a node proves itself, such as a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// SHA-256 of its key.
    pub key: Digest,
    /// The node that it is, permanently; `None` while it has not attested.
    pub node: Option<SpiffeId>,
    /// The operator who allowed it, where no configured authority vouches for it.
    pub approved_by: Option<String>,
    /// What it states about itself: nothing of it is verified unless an authority vouches for it.
    pub about: String,
    /// When it proved last that it holds its key; zero if it never did.
    pub seen_at: UnixTime,
    /// What its attestor had remembered of the node when the node was removed last.
    pub remembered: Option<Arc<str>>,
    /// When that was; zero if it never was.
    pub removed_at: UnixTime,
    /// From where it showed itself last while it waited; empty otherwise.
    pub network: String,
    /// When an operator took its approval back; zero if it was allowed since, or never was.
    pub revoked_at: UnixTime,
}

impl DeviceRecord {
    /// One of which nothing is known yet.
    pub(crate) const fn unseen(key: Digest) -> Self {
        const NEVER: UnixTime = UnixTime::from_seconds(0);
        Self {
            key,
            node: None,
            approved_by: None,
            about: String::new(),
            seen_at: NEVER,
            remembered: None,
            removed_at: NEVER,
            network: String::new(),
            revoked_at: NEVER,
        }
    }
}

/// What operators are alerted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRecord {
    /// `alr_…`; it begins with the time. Its leaf has the same.
    pub id: String,
    pub at: UnixTime,
    pub severity: AlertSeverity,
    /// What happened, in a few words that are the same each time.
    pub kind: String,
    /// Whom it concerns.
    pub agent: SpiffeId,
    /// What differs from what it has to be.
    pub reason: String,
    /// When all was well last, if it ever was.
    pub good_at: Option<UnixTime>,
    /// Alerts of the same agent before this one that are no longer kept.
    pub earlier: u64,
}

/// How urgent an alert is. A refused connection is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertSeverity {
    Warning,
    Critical,
}

impl AlertSeverity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Warning, Self::Critical].into_iter().find(|severity| severity.as_str() == text)
    }
}

/// Up to where a node's spool was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolPosition {
    pub next: u64,
    /// The leaf under which the last of it stands.
    pub log_index: u64,
    /// Records that the node has reported as lost, in all.
    pub lost: u64,
}

/// A size that the log had, and its root then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMark {
    pub size: u64,
    pub root: Vec<u8>,
}

/// A leaf that waits for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxLeaf {
    /// Ascends with each commit of its server, and is never used twice: the ledger takes each once.
    pub sequence: i64,
    pub leaf: Vec<u8>,
    pub side: Vec<u8>,
}

/// A run of a server on this state: what it wrote goes on from the revision at which it began. A reader that has
/// applied a revision of a run which this state does not know, or a later one of that run than was kept, comes from
/// another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub [u8; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochRecord {
    pub epoch: Epoch,
    pub from: Revision,
}

/// What readers that come back go on from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past {
    /// All changes after this revision are in `changed`.
    pub since: Revision,
    /// In the order of their revisions.
    pub changed: Vec<Changed>,
    /// In their order; the last one runs.
    pub epochs: Vec<EpochRecord>,
}

/// What changed after a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// In the order of their revisions.
    Known(Vec<Changed>),
    /// It is longer ago than what is kept: load everything.
    TooOld,
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub revision: Revision,
    pub what: ChangedId,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangedId {
    /// With its parents and SPIFFE IDs, before and after: they say whom the change concerns, also when the entry is
    /// deleted.
    Entry {
        id: EntryId,
        parents: Vec<SpiffeId>,
        spiffe_ids: Vec<SpiffeId>,
    },
    Node(SpiffeId),
    Authority(String),
    Policy,
    Revocation,
}
