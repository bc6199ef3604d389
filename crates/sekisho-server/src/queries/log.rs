//! The log as such: its checkpoints, tiles and proofs of consistency, and the identities that it names.

use std::sync::Arc;

use sekisho_ledger::{Hash, TileRequest};

use super::query_error::QueryError;
use crate::caller::{LogReader, Operator};
use crate::domain::Shared;
use crate::log_search::{Identity, newest_identities};
use crate::query::Query;

/// Where the log is, and by what its readers verify it.
pub(crate) struct ShowLog;

pub(crate) struct LogHead {
    pub checkpoint: Arc<str>,
    /// The newest checkpoint that its witnesses cosigned.
    pub cosigned: Option<Arc<str>>,
    pub verifier_key: String,
}

impl Query for ShowLog {
    type Caller = Operator;
    type Reply = LogHead;

    async fn answer(self, of: &Shared, _: &Operator) -> LogHead {
        LogHead {
            checkpoint: of.log.ledger.checkpoint(),
            cosigned: of.cosigned().map(|(_, note)| note),
            verifier_key: of.log.ledger.verifier().to_owned(),
        }
    }
}

/// What shows that the log of one size is the beginning of the log of another.
pub(crate) struct ProveConsistency {
    pub old_size: u64,
    pub new_size: u64,
}

impl Query for ProveConsistency {
    type Caller = Operator;
    type Reply = Result<Vec<Hash>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let Self { old_size, new_size } = self;
        let size = of.log.ledger.size();
        if old_size == 0 || old_size > new_size || new_size > size {
            return Err(QueryError::Sizes(size));
        }
        let of = of.clone();
        Ok(sekisho_runtime::blocking(move || of.log.ledger.consistency_path(old_size, new_size)).await??)
    }
}

/// The newest checkpoint or, where witnesses are configured, the newest that they have cosigned, if there is one.
pub(crate) struct Checkpoint;

impl Query for Checkpoint {
    type Caller = LogReader;
    type Reply = Option<Arc<str>>;

    async fn answer(self, of: &Shared, _: &LogReader) -> Self::Reply {
        match &of.log.witnesses {
            Some(_) => of.cosigned().map(|(_, note)| note),
            None => Some(of.log.ledger.checkpoint()),
        }
    }
}

/// A tile, or a bundle of leaves, if the log has it.
pub(crate) struct Tile(pub TileRequest);

impl Query for Tile {
    type Caller = LogReader;
    type Reply = Option<Vec<u8>>;

    async fn answer(self, of: &Shared, _: &LogReader) -> Self::Reply {
        let of = of.clone();
        sekisho_runtime::blocking(move || of.log.ledger.published(&self.0)).await.ok().flatten()
    }
}

/// The newest attestations and issuances, newest first.
pub(crate) struct ListIdentities {
    pub limit: usize,
}

impl Query for ListIdentities {
    type Caller = Operator;
    type Reply = Result<Vec<Identity>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let of = of.clone();
        Ok(sekisho_runtime::blocking(move || newest_identities(&of.log.ledger, self.limit)).await?)
    }
}
