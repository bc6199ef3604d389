use sekisho_disk::DiskError;
use sekisho_host::HostError;
use sekisho_net::NetError;
use sekisho_runtime::{TaskFailure, TracesError};

/// Why the sidecar does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error(transparent)]
    Task(#[from] TaskFailure),
    #[error("configuration: {0}")]
    Value(String),
    #[error("the workload: {0}")]
    Workload(#[from] HostError),
    #[error("the workload `{command}` does not start: {source}")]
    Start { command: String, source: std::io::Error },
    #[error("the workload of this sidecar is not known: give `--workload-pid`, or the command after `--`")]
    NoWorkload,
    #[error("nothing to do: give `--inbound` with `--upstream`, or `--outbound`")]
    NothingToDo,
}
