use sekisho_store::DeviceRecord;

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;

/// The TPMs by which nodes attested, those that operators allowed, and those that wait for it.
pub(crate) struct ListTpms;

impl Query for ListTpms {
    type Caller = Operator;
    type Reply = Result<Vec<DeviceRecord>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        Ok(of.store.devices(&of.identity.name).await?)
    }
}
