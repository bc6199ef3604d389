//! What the steps of a technique share.

use std::os::fd::OwnedFd;

/// What an attempt shows once its calls have succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It counts if the token arrives at a listener.
    Arrives,
    /// The success of the calls is what a rule should have prevented.
    Succeeded,
}

/// What a step of an attempt leaves to the next.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub socket: Option<OwnedFd>,
    /// A descriptor from a process outside.
    pub passed: Option<OwnedFd>,
}
