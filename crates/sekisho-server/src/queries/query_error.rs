use sekisho_disk::DiskError;
use sekisho_store::StoreError;
use sekisho_types::{Digest, SpiffeId};
use tokio::task::JoinError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("nothing in the log goes by `{0}`; see `sekisho decision list` and `sekisho svid list`")]
    NotLogged(String),
    #[error("`{id}` cites entry {index}, which this log does not have: an older copy of it was restored")]
    OlderLog { id: String, index: u64 },
    #[error("the two sizes must ascend from at least 1 to at most {0}")]
    Sizes(u64),
    #[error("no decision `{0}` here; it may still wait in its node's spool, or be older than what is kept")]
    NoDecision(String),
    #[error("no evidence of agent `{0}` is kept; see `sekisho agent list` for agents that attested by a TPM")]
    NoEvidence(SpiffeId),
    #[error("no evidence `{0}` is kept: it was replaced by later evidence of its node, or is too old")]
    ForgottenEvidence(Digest),
    #[error("policy revision {0} is not kept, or never was")]
    NoPolicy(u64),
    #[error("too many follow decisions already; try again later")]
    TooManyFollow,
    #[error("entry {0} of the log, or a tile above it, is damaged on disk; restore the log from a backup")]
    DamagedLog(u64),
    #[error("the record under entry {0} of the log does not stand there: a segment of decisions is damaged")]
    DamagedSegment(u64),
    #[error("{0} of the log is not readable")]
    Unreadable(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("a read of files broke off: {0}")]
    BrokeOff(#[from] JoinError),
}
