//! The events of a node.

use sekisho_identity::Difference;
use sekisho_policy::Recorded;
use sekisho_types::{Effect, EntryId, Selector, SpiffeId, UnixTime};

use crate::node::class::RecordClass;
use crate::node::id::RecordId;
use crate::words::{DecisionId, RefusalId};

/// Everything that is recorded on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    Decided(Box<Decided>),
    PeerRefused(PeerRefused),
    NoIdentity(NoIdentity),
    CallRefused(CallRefused),
}

/// A sidecar decided about a request or connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub id: DecisionId,
    /// W3C trace context.
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub recorded: Recorded,
    pub latency_micros: u64,
}

/// A sidecar refused peers for one reason, before there was anything to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRefused {
    pub id: RefusalId,
    /// Milliseconds are what a record keeps of it.
    pub at: UnixTime,
    /// For example `request` or `handshake`.
    pub what: String,
    /// The first of them: its SPIFFE ID, or its address if no more is known.
    pub peer: String,
    pub reason: String,
    /// The first releases did not count.
    pub count: Option<u64>,
    /// The sidecar's own identity.
    pub destination: SpiffeId,
}

/// An agent found no entry for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoIdentity {
    pub id: RefusalId,
    pub at: UnixTime,
    pub what: String,
    pub pid: i32,
    /// The first releases did not write it.
    pub uid: Option<u32>,
    /// What was found on the process.
    pub selectors: Vec<Selector>,
    pub nearest: Option<NearestEntry>,
}

/// The entry that came nearest to a process, and where it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearestEntry {
    pub entry: EntryId,
    pub spiffe_id: SpiffeId,
    pub differences: Vec<Difference>,
}

/// An agent refused a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRefused {
    pub id: RefusalId,
    pub at: UnixTime,
    pub what: String,
    pub pid: i32,
    pub uid: Option<u32>,
    /// The first releases did not write it.
    pub call: Option<String>,
}

impl NodeEvent {
    pub const fn id(&self) -> RecordId {
        match self {
            Self::Decided(decided) => RecordId::Decision(decided.id),
            Self::PeerRefused(refused) => RecordId::Refusal(refused.id),
            Self::NoIdentity(refused) => RecordId::Refusal(refused.id),
            Self::CallRefused(refused) => RecordId::Refusal(refused.id),
        }
    }

    pub const fn class(&self) -> RecordClass {
        match self {
            Self::Decided(decided) => match decided.recorded.decision.effect {
                Effect::Allow => RecordClass::Allow,
                Effect::Deny => RecordClass::Deny,
            },
            Self::PeerRefused(_) | Self::NoIdentity(_) | Self::CallRefused(_) => RecordClass::Refusal,
        }
    }

    /// What was refused, and why, in words; `None` of a decision.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Decided(_) => None,
            Self::PeerRefused(PeerRefused { what, .. })
            | Self::NoIdentity(NoIdentity { what, .. })
            | Self::CallRefused(CallRefused { what, .. }) => Some(what),
        }
    }

    /// The process that was refused.
    pub const fn pid(&self) -> Option<i32> {
        match self {
            Self::NoIdentity(refused) => Some(refused.pid),
            Self::CallRefused(refused) => Some(refused.pid),
            Self::Decided(_) | Self::PeerRefused(_) => None,
        }
    }
}
