use sekisho_store::TokenRecord;

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;

/// The join tokens that were not used.
pub(crate) struct ListTokens;

impl Query for ListTokens {
    type Caller = Operator;
    type Reply = Result<Vec<TokenRecord>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        Ok(of.store.tokens(&of.identity.name).await?)
    }
}
