//! What a query is: something that a caller may see, which `executor.rs` answers. Nothing changes by it.

use crate::caller::Caller;
use crate::change::Facts;
use crate::domain::Shared;

/// Each is of a file of `queries/`.
pub(crate) trait Query: Sized + Send {
    /// Whom the role table admits to it.
    type Caller: Caller;
    type Reply;

    fn answer(self, of: &Shared, by: &Self::Caller) -> impl Future<Output = Self::Reply> + Send;
}

/// A query that the view answers, without a wait.
pub(crate) trait ViewQuery: Sized + Send {
    type Caller: Caller;
    type Reply;

    fn see(self, of: Facts<'_>, by: &Self::Caller) -> Self::Reply;
}

impl<Q: ViewQuery> Query for Q {
    type Caller = Q::Caller;
    type Reply = Q::Reply;

    async fn answer(self, of: &Shared, by: &Q::Caller) -> Q::Reply {
        self.see(of.facts(), by)
    }
}
