use sekisho_store::AlertRecord;

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;

/// Alerts after one of them, oldest first; without one, the newest.
pub(crate) struct ListAlerts {
    pub after: Option<String>,
    pub limit: usize,
}

impl Query for ListAlerts {
    type Caller = Operator;
    type Reply = Result<Vec<AlertRecord>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        Ok(of.store.alerts(&of.identity.name, self.after.as_deref(), self.limit).await?)
    }
}
