//! Why a process does not get what it asked this agent for.

use sekisho_disk::DiskError;
use sekisho_types::{Digest, EntryId, SpiffeId};

use crate::behind::Behind;
use crate::server_failure::ServerFailure;

/// One sentence each, for the caller.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refusal {
    // The process itself.
    /// Nothing was refused: the call stops with its process, or with its connection.
    #[error("{0}")]
    Stopped(String),
    #[error("the kernel does not say which process calls")]
    UnknownCaller,
    #[error("the process runs another executable than when it connected; connect again")]
    OtherExecutable,
    #[error("the process runs as another user or group than when it connected; connect again")]
    OtherUser,
    #[error(
        "the process became another program or another user, or moved to another unit, while its identity was issued"
    )]
    Changed,
    #[error("the process could not be measured: it is closed to other processes, so the agent needs CAP_SYS_PTRACE")]
    Closed,
    #[error("the process could not be measured: {0}")]
    Unmeasured(String),
    #[error("other processes of this user are being measured, and the files that they run do not answer; try again")]
    Measuring,

    // Whose the connection is.
    #[error("the owner of this connection is not known: {0}")]
    UnknownHolder(String),
    #[error(
        "another program may have left this connection to the process: its descriptor survives exec; open it with \
         SOCK_CLOEXEC, as the SPIFFE libraries do"
    )]
    Inherited,
    #[error("the process that connected does not hold this connection")]
    NotHeld,
    #[error("process {0} holds this connection as well")]
    HeldByOther(i32),
    #[error("the descriptors of process {0} cannot be read, so it could hold this connection as well")]
    Hidden(i32),

    // What it may have.
    #[error("no identity issued; `sekisho why {}` says why", explained_by(*pid, .record.as_deref()))]
    NoIdentity { pid: i32, record: Option<String> },
    #[error("no identity issued: this process has no such SPIFFE ID")]
    NoSuchId,
    #[error("the SVID was revoked while it was issued, since {0}; ask again")]
    RevokedMeanwhile(String),
    #[error("{0}; `sekisho doctor` shows the state of this agent")]
    Behind(#[from] Behind),
    #[error("this process has {0} streams open; close some")]
    Streams(u32),
    #[error("user {0} asked for too many JWT-SVIDs; each is good until it ends, so keep it, and ask again later")]
    TokenShare(u32),
    #[error("user {0} asked for too many X.509-SVIDs; ask again later")]
    SvidShare(u32),

    // Keys in the TPM.
    #[error("entry `{0}` wants a key in the TPM of the node, and this agent uses none; start the agent with `--tpm`")]
    NoTpm(EntryId),
    #[error(
        "the private key of {0} is in the TPM of this node, so neither it nor a token is given to a process; start a \
            sidecar (`sekisho proxy`) that speaks for the process"
    )]
    KeyStays(String),
    #[error("with a key in the TPM only handshakes of TLS 1.3 are signed (RFC 8446, section 4.4.3)")]
    NoHandshake,
    #[error("no such key is delegated to this sidecar now; it signs with the key of the newest SVID that it was sent")]
    NotDelegated,
    #[error("too many handshakes of this sidecar, or of all together, wait for the TPM; try again")]
    Signatures,
    #[error("the TPM has been busy for too long; try again")]
    TpmBusy,
    #[error("the TPM did not do it: {0}; the agent must reach it at `--tpm`")]
    Tpm(String),

    // A token that it wants judged.
    #[error("{0}")]
    Token(String),
    #[error("which SVIDs are revoked is not known yet: this agent has not reached its server; try again")]
    RevocationsUnknown,

    // Sidecars.
    #[error("{0}")]
    NoSidecar(&'static str),
    #[error("this executable may not act as a sidecar; if it should, start the agent with `--sidecar-sha256 {0}`")]
    UnknownSidecar(Digest),
    #[error("the workload runs in group {0}, of which its sidecar is not a member; start the sidecar in that group")]
    OtherGroup(u32),
    #[error("the workload matches entries of several identities ({0}); choose one for this sidecar with `--spiffe-id`")]
    SeveralIds(String),
    #[error("the workload is not `{wanted}`; its entries give it {listed}")]
    OtherId { wanted: SpiffeId, listed: String },

    // Faults of others.
    #[error("{}", .0.message)]
    Server(ServerFailure),
    #[error("{0}")]
    Failed(String),
    /// With the id of its record, if it has one.
    #[error("{what}")]
    Recorded { what: Box<Refusal>, id: Option<String> },
}

/// The record explains a process that is gone; without one, it has to run.
fn explained_by(pid: i32, record: Option<&str>) -> String {
    record.map_or_else(|| format!("identity --pid {pid}"), str::to_owned)
}

impl Refusal {
    /// A fault of this program's own.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(crate) fn stopped(what: &str) -> Self {
        Self::Stopped(what.to_owned())
    }

    /// The server has it in its log, or there is nothing to record.
    pub(crate) fn on_record(self) -> Self {
        Self::Recorded { what: Box::new(self), id: None }
    }

    /// Whether the server has decided against it. Every other failure is an outage, and takes nothing away.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Server(failure) if failure.is_refusal())
    }
}

impl From<ServerFailure> for Refusal {
    fn from(failure: ServerFailure) -> Self {
        Self::Server(failure)
    }
}

impl From<DiskError> for Refusal {
    fn from(error: DiskError) -> Self {
        Self::failed(error)
    }
}
