//! What a query is: something of the state that a caller may see, which `executor.rs` hands out. Nothing changes by it.

use crate::caller::Caller;
use crate::change::Facts;

/// Each is of a file of `queries/`.
pub(crate) trait Query {
    /// Whom the role table admits to it.
    type Caller: Caller;
    type Reply;

    fn ask(self, of: Facts<'_>, by: &Self::Caller) -> Self::Reply;
}
