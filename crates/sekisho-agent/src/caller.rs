//! Who is at the other end of the agent's socket: one process, measured on each use.

use std::sync::{Arc, OnceLock};

use sekisho_host::{ExecutableId, HostError, Measurement, Process, UnixSocket, is_unchanged, measure, traces_others};
use sekisho_net::{UnixPeer, on_record};
use sekisho_runtime::now;
use sekisho_types::UnixTime;
use tonic::{Request, Status};

use crate::core::Core;

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
    /// A process that cannot be measured, which is said to each of its requests.
    Refused {
        pid: i32,
        uid: u32,
        status: Status,
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

/// Called as soon as a connection is accepted: what the process runs is read first. `None` once that has ended.
pub(crate) async fn admit(core: Arc<Core>, peer: UnixPeer) -> Option<Admitted> {
    let (pid, uid, gid, (inode, cookie)) = (peer.pid, peer.uid, peer.gid, peer.socket);
    let socket = UnixSocket { inode: inode.try_into().ok()?, cookie };
    let process = match peer.pidfd {
        Some(pidfd) => Process::hold(pid, pidfd),
        None => Process::open(pid),
    };
    let looked = async {
        let process = process.map_err(Failed::Host)?;
        // Its executable may be on a file system of its own, which does not answer.
        let turn = core.measuring.take(uid, &process).await.map_err(Failed::Status)?;
        let look = move || {
            let _turn = turn;
            ExecutableId::of(&process).map(|executable| (executable, process))
        };
        let looked = sekisho_runtime::blocking(look).await;
        looked.map_err(|_| Failed::Status(Status::internal("measuring failed")))?.map_err(Failed::Host)
    };
    let status = match looked.await {
        Ok((executable, process)) => {
            let other_end = OnceLock::new();
            return Some(Admitted::Caller(Arc::new(Caller { process, uid, gid, executable, socket, other_end })));
        }
        Err(Failed::Host(HostError::Ended(_))) => return None,
        Err(Failed::Host(error)) => unmeasured(error),
        Err(Failed::Status(status)) => status,
    };
    tracing::info!(pid, uid, reason = status.message(), "a caller could not be held");
    Some(Admitted::Refused { pid, uid, status })
}

enum Failed {
    Host(HostError),
    Status(Status),
}

impl Caller {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        match request.extensions().get::<Admitted>() {
            Some(Admitted::Caller(caller)) => Ok(caller.clone()),
            Some(Admitted::Refused { status, .. }) => Err(status.clone()),
            None => Err(Status::permission_denied("the kernel does not say which process calls")),
        }
    }

    /// Measures the process as it is now. After exec it is another program, and this connection is not its.
    pub(crate) async fn measure(self: &Arc<Self>, core: &Arc<Core>) -> Result<(Measurement, UnixTime), Status> {
        let measured = measure_process(self.uid, self.clone(), |caller| &caller.process, core.clone()).await?;
        self.check(measured)
    }

    fn check(&self, measured: (Measurement, UnixTime)) -> Result<(Measurement, UnixTime), Status> {
        if measured.0.executable != self.executable {
            return Err(Status::permission_denied(
                "the process runs another executable than when it connected; connect again",
            ));
        }
        // A set-user-ID program that was started after connecting measures as its owner.
        if (measured.0.uid, measured.0.gid) != (self.uid, self.gid) {
            return Err(Status::permission_denied(
                "the process runs as another user or group than when it connected; connect again",
            ));
        }
        Ok(measured)
    }
}

/// Refuses to send to a process that is no longer what it was when it was measured. For the last moment before sending.
pub(crate) async fn still_measured<H: Send + Sync + 'static>(
    core: &Arc<Core>,
    holder: &Arc<H>,
    process: fn(&H) -> &Process,
    measured: &Measurement,
) -> Result<(), Status> {
    let turn = core.measuring.take(measured.uid, process(holder)).await?;
    let (holder, measured) = (holder.clone(), measured.clone());
    let look = move || {
        let _turn = turn;
        is_unchanged(process(&holder), &measured)
    };
    let looked = sekisho_runtime::blocking(look).await.map_err(|_| Status::internal("measuring failed"))?;
    if looked.map_err(unmeasured)? {
        return Ok(());
    }
    Err(Status::permission_denied("the process became another program or another user while its identity was issued"))
}

fn unmeasured(error: HostError) -> Status {
    match error {
        HostError::Ended(_) => ended("the process has ended"),
        HostError::Proc { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied && !traces_others() => {
            Status::permission_denied(
                "the process could not be measured: it is closed to other processes, so the agent needs CAP_SYS_PTRACE",
            )
        }
        other => Status::permission_denied(format!("the process could not be measured: {other}")),
    }
}

/// The end of a call with its process: nothing was refused.
pub(crate) fn ended(what: &str) -> Status {
    on_record(Status::permission_denied(what), None)
}

/// Measures a process on a thread that may block, in the turn of user `uid`.
pub(crate) async fn measure_process<H: Send + Sync + 'static>(
    uid: u32,
    holder: Arc<H>,
    process: fn(&H) -> &Process,
    core: Arc<Core>,
) -> Result<(Measurement, UnixTime), Status> {
    let turn = core.measuring.take(uid, process(&holder)).await?;
    let measure = move || {
        let _turn = turn;
        measure(process(&holder), &core.digests)
    };
    let measured = sekisho_runtime::blocking(measure).await;
    let measured = measured.map_err(|_| Status::internal("measuring failed"))?;
    let measurement = measured.map_err(unmeasured)?;
    Ok((measurement, now()))
}
