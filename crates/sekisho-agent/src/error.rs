//! Why the agent does not run, or stopped.

use sekisho_disk::DiskError;
use sekisho_evidence::node::NodeError;
use sekisho_keys::KeyError;
use sekisho_net::NetError;
use sekisho_runtime::{TaskFailure, TracesError};
use sekisho_types::SignError;
use tonic::Status;

use crate::server_failure::ServerFailure;

/// Why the agent does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Proof(#[from] NodeError),
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error(
        "nothing proves this node: give `--join-token-file` (from `sekisho token create`), `--node-cert` and \
            `--node-key`, or `--tpm`"
    )]
    NoProof,
    #[error("the node's proof was not finished: the task that makes it stopped")]
    ProofStopped,
    #[error("the TPM at {path} cannot be used: {source}{}", tpm_advice(.source))]
    Tpm { path: String, source: std::io::Error },
    #[error(
        "nothing says which server to trust: give `--trust-bundle` or `--fingerprint` (from `sekisho bundle show`)"
    )]
    NoTrust,
    #[error("--node-cert or --node-key holds no certificate, or no P-256 or RSA key in PKCS #8")]
    NodeCertificate,
    #[error("the trust bundle: {0}")]
    Bundle(String),
    #[error("the server's answer is not understood: {0}")]
    Answer(&'static str),
    #[error(transparent)]
    Server(#[from] ServerFailure),
    #[error(
        "the join token in {} was used before or has expired: put a new one there, made by \
         `sekisho token create --agent-id <this agent's name> --file {}`, and the agent joins again",
        .0.display(), .0.display()
    )]
    TokenUsed(std::path::PathBuf),
    #[error("own executable: {0}")]
    Executable(std::io::Error),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error(transparent)]
    Task(#[from] TaskFailure),
    #[error("gRPC reflection: {0}")]
    Reflection(String),
}

/// The next step for someone whose TPM is not reached.
fn tpm_advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => "; run the agent as root, or as a member of the group `tss`",
        std::io::ErrorKind::NotFound => "; `ls /dev/tpm*` shows the devices, and the firmware can switch the TPM on",
        _ => "",
    }
}

impl From<Status> for AgentError {
    fn from(status: Status) -> Self {
        Self::Server(status.into())
    }
}
