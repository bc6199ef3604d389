//! Who is at the other end of the agent's socket: one process, measured on each use.

use std::sync::{Arc, OnceLock};

use sekisho_host::{ExecutableId, HostError, Measurement, Process, UnixSocket};
use sekisho_net::UnixPeer;
use sekisho_types::UnixTime;
use tonic::Request;

use crate::host::{Host, unmeasured};
use crate::refusal::Refusal;

/// The process behind one connection, held from the moment it connected.
pub(crate) struct Caller {
    pub process: Process,
    pub uid: u32,
    gid: u32,
    /// What it ran when it connected.
    pub executable: ExecutableId,
    /// Our end of the connection.
    pub socket: UnixSocket,
    /// The socket at its other end, once it was asked for: it never becomes another one.
    pub other_end: OnceLock<u32>,
}

/// What each request on a connection carries.
#[derive(Clone)]
pub(crate) enum Admitted {
    Caller(Arc<Caller>),
    /// A process that cannot be measured; each of its requests is answered with the reason.
    Refused {
        pid: i32,
        uid: u32,
        why: Refusal,
    },
}

impl Admitted {
    pub(crate) fn pid_and_uid(&self) -> (i32, u32) {
        match self {
            Self::Caller(caller) => (caller.process.pid(), caller.uid),
            Self::Refused { pid, uid, .. } => (*pid, *uid),
        }
    }
}

/// Called as soon as a connection is accepted: what the process runs is read first. `None` if it has exited.
pub(crate) async fn admit(host: &Host, peer: UnixPeer) -> Option<Admitted> {
    let (pid, uid, gid, (inode, cookie)) = (peer.pid, peer.uid, peer.gid, peer.socket);
    let socket = UnixSocket { inode: inode.try_into().ok()?, cookie };
    let process = match peer.pidfd {
        Some(pidfd) => Process::hold(pid, pidfd),
        None => Process::open(pid),
    };
    let looked = match process {
        Ok(process) => host.executable(uid, process).await,
        Err(HostError::Stopped(_)) => return None,
        Err(error) => Err(unmeasured(error)),
    };
    match looked {
        Ok(found) => found.map(|(executable, process)| {
            let other_end = OnceLock::new();
            Admitted::Caller(Arc::new(Caller { process, uid, gid, executable, socket, other_end }))
        }),
        Err(why) => {
            tracing::info!(pid, uid, reason = %why, "a calling process could not be held");
            Some(Admitted::Refused { pid, uid, why })
        }
    }
}

impl Caller {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Refusal> {
        match request.extensions().get::<Admitted>() {
            Some(Admitted::Caller(caller)) => Ok(caller.clone()),
            Some(Admitted::Refused { why, .. }) => Err(why.clone()),
            None => Err(Refusal::UnknownCaller),
        }
    }

    /// Measures the process as it is now. After exec it is another program, and this connection is not its.
    pub(crate) async fn measure(self: &Arc<Self>, host: &Host) -> Result<(Measurement, UnixTime), Refusal> {
        let measured = host.measure(self.uid, self.clone(), |caller| &caller.process).await?;
        if measured.0.executable != self.executable {
            return Err(Refusal::OtherExecutable);
        }
        // A set-user-ID program that was started after connecting measures as its owner.
        if (measured.0.uid, measured.0.gid) != (self.uid, self.gid) {
            return Err(Refusal::OtherUser);
        }
        Ok(measured)
    }
}
