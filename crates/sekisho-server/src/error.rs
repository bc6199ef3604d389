//! Why a server does not start, or stops.

use std::net::SocketAddr;

use sekisho_disk::DiskError;
use sekisho_keys::KeyError;
use sekisho_net::NetError;
use sekisho_runtime::{TaskFailure, TracesError};
use sekisho_store::StoreError;
use sekisho_types::TrustDomain;

use crate::authorities::AuthorityError;
use crate::lineage::LineageError;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the server's own SVID: {0}")]
    OwnSvid(String),
    #[error("the ledger: {0}")]
    Journal(String),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("--{flag} {path}: {reason}")]
    Anchors { flag: &'static str, path: String, reason: String },
    #[error("--boot-policy {path}: {reason}. Correct it, and check it with `sekisho boot check {path}`")]
    BootPolicy { path: String, reason: String },
    #[error("--witnesses {path}: {reason}")]
    WitnessPolicy { path: String, reason: String },
    #[error("--alert-webhook: {0}")]
    Webhook(String),
    #[error(transparent)]
    Lineage(LineageError),
    #[error(
        "{0} is a copy that `sekisho backup` made; bring it back by \
         `sekisho restore --trust-domain <its trust domain> --from {0} --data <folder>`"
    )]
    IsACopy(String),
    #[error("{0}: `sekisho restore --trust-domain <its trust domain> --from <copy> --data {1}`")]
    OlderLog(String, String),
    #[error(
        "the database here is older than the log, or new: {0}. Put the newer `state.db` back, or restore a backup, \
            which keeps this log: `sekisho restore --trust-domain <its trust domain> --from <copy> --data {1}`"
    )]
    OlderState(String, String),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error(transparent)]
    Task(#[from] TaskFailure),
    #[error("--policy-folder {0}: it is not a folder; make it, or leave the option out and use `sekisho policy apply`")]
    PolicyFolder(String),
    #[error("gRPC reflection: {0}")]
    Reflection(String),
    #[error("trust domain `{name}`: {source}")]
    Of { name: TrustDomain, source: Box<Self> },
    #[error("two trust domains of this server have the same {what}, {value}; give each its own")]
    Twice { what: &'static str, value: String },
}

impl ServerError {
    /// One of this trust domain.
    pub(crate) fn of(name: &TrustDomain, error: Self) -> Self {
        Self::Of { name: name.clone(), source: Box::new(error) }
    }
}

impl From<LineageError> for ServerError {
    fn from(error: LineageError) -> Self {
        match error {
            LineageError::Disk(error) => Self::Disk(error),
            other => Self::Lineage(other),
        }
    }
}
