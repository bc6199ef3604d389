use sekisho_types::{Digest, SpiffeId};

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;
use crate::shown_evidence::shown_by;

/// What a node showed, as a file that can be verified again.
pub(crate) enum ShowEvidence {
    /// When this agent's node attested in full the last time.
    Of(SpiffeId),
    /// What a leaf names.
    Named(Digest),
}

impl Query for ShowEvidence {
    type Caller = Operator;
    type Reply = Result<Vec<u8>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let sha256 = match self {
            Self::Named(sha256) => sha256,
            Self::Of(id) => {
                let node = of.view.read(|state| state.nodes.get(&id).cloned());
                let shown = node.and_then(|node| shown_by(&node.attestation_type, node.remembered.as_deref()?));
                shown.ok_or(QueryError::NoEvidence(id))?
            }
        };
        let files = of.clone();
        let file = sekisho_runtime::blocking(move || files.log.evidence.get(&sha256)).await?;
        file.ok_or(QueryError::ForgottenEvidence(sha256))
    }
}
