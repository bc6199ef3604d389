//! What one process, and one user's processes, may use up.

use crate::shares::Shares;
use crate::streams::Streams;

pub(crate) struct Limits {
    /// What one user's processes may ask the server for.
    pub shares: Shares,
    pub streams: Streams,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self { shares: Shares::new(), streams: Streams::default() }
    }
}
