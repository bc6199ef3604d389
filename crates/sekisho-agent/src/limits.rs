//! What one process, and one user's processes, may use up.

use crate::streams::Streams;
use crate::user_budgets::UserBudgets;

pub(crate) struct Limits {
    /// What one user's processes may ask the server for.
    pub user_budgets: UserBudgets,
    pub streams: Streams,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self { user_budgets: UserBudgets::new(), streams: Streams::default() }
    }
}
