use std::fmt;

use crate::node::class::RecordClass;
use crate::words::{DecisionId, RefusalId};

/// The id of a record: `dec_` for decisions, `ref_` for refusals, and 32 digits that begin with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordId {
    Decision(DecisionId),
    Refusal(RefusalId),
}

impl RecordId {
    pub fn parse(text: &str) -> Option<Self> {
        DecisionId::parse(text).map(Self::Decision).or_else(|| RefusalId::parse(text).map(Self::Refusal))
    }

    /// The id of a record that is kept under this number.
    pub fn of(class: RecordClass, key: u128) -> Self {
        let bytes = key.to_be_bytes();
        match class {
            RecordClass::Refusal => Self::Refusal(RefusalId::new(bytes)),
            RecordClass::Allow | RecordClass::Deny => Self::Decision(DecisionId::new(bytes)),
        }
    }

    /// The number in it.
    pub const fn key(self) -> u128 {
        match self {
            Self::Decision(id) => u128::from_be_bytes(id.bytes()),
            Self::Refusal(id) => u128::from_be_bytes(id.bytes()),
        }
    }

    /// The time in it, in Unix milliseconds.
    pub fn at_ms(self) -> i64 {
        i64::try_from(self.key() >> 80).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decision(id) => id.fmt(f),
            Self::Refusal(id) => id.fmt(f),
        }
    }
}
