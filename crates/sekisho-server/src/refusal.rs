//! Law L5 as a type: a refusal that a caller may see exists only together with the proof that it is on record.

use std::fmt;

use sekisho_net::is_unrecorded;
use tonic::Status;

use crate::journal::JournalError;

/// Why a call is not done as it was asked.
pub(crate) trait Fault: From<JournalError> {
    /// Whether the caller is at fault. What is ours, or passes, is not a refusal.
    fn is_callers(&self) -> bool;
    /// What was wrong.
    fn says(&self) -> String;
}

impl Fault for Status {
    fn is_callers(&self) -> bool {
        is_unrecorded(self)
    }

    fn says(&self) -> String {
        self.message().to_owned()
    }
}

/// The caller hears no refusal that is not on record.
impl From<JournalError> for Status {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "a refusal was not logged");
        Self::unavailable("the refusal could not be logged")
    }
}

/// Proof that something is on record: a leaf of its own, or a place in a count that is a leaf. `refusals.rs` makes these.
#[derive(Debug)]
pub(crate) struct Recorded(());

impl Recorded {
    /// Durable in the log.
    pub(crate) const fn by_leaf(_index: u64) -> Self {
        Self(())
    }

    /// Counted; the count becomes a leaf.
    pub(crate) const fn in_count() -> Self {
        Self(())
    }

    /// A caller on the local socket administers this machine: what it is refused concerns no peer.
    pub(crate) const fn local() -> Self {
        Self(())
    }

    /// Our own failure, or something that passes: there is nothing to record of the caller.
    pub(crate) fn no_refusal(fault: &impl Fault) -> Option<Self> {
        (!fault.is_callers()).then_some(Self(()))
    }
}

/// What a caller hears in place of an answer.
#[derive(Debug)]
pub(crate) struct Refusal<E>(E);

impl<E> Refusal<E> {
    pub(crate) const fn new(error: E, _proof: Recorded) -> Self {
        Self(error)
    }

    pub(crate) fn into_error(self) -> E {
        self.0
    }

    pub(crate) fn map<F>(self, form: impl FnOnce(E) -> F) -> Refusal<F> {
        Refusal(form(self.0))
    }
}

/// How a call ended that was not done: what has to be recorded, or what is on record already.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    Fault(E),
    Refused(Refusal<E>),
}

impl<E> Ended<E> {
    pub(crate) fn map<F>(self, form: impl FnOnce(E) -> F) -> Ended<F> {
        match self {
            Self::Fault(error) => Ended::Fault(form(error)),
            Self::Refused(refusal) => Ended::Refused(refusal.map(form)),
        }
    }
}

impl<E> From<E> for Ended<E> {
    fn from(error: E) -> Self {
        Self::Fault(error)
    }
}

impl<E: fmt::Display> fmt::Display for Ended<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(error) | Self::Refused(Refusal(error)) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for Ended<E> {}
