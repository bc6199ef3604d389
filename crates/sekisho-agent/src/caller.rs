//! Who is at the other end of the agent's socket: one process, measured on each use.

use std::sync::Arc;

use sekisho_host::{ExecutableId, HostError, Measurement, Process, measure};
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
    executable: ExecutableId,
}

impl Caller {
    pub(crate) fn admit(peer: UnixPeer) -> Option<Arc<Self>> {
        let process = match peer.pidfd {
            Some(pidfd) => Process::hold(peer.pid, pidfd),
            None => Process::open(peer.pid),
        };
        let held = process.and_then(|process| Ok((ExecutableId::of(&process)?, process)));
        match held {
            Ok((executable, process)) => Some(Arc::new(Self { process, uid: peer.uid, gid: peer.gid, executable })),
            Err(error) => {
                tracing::info!(pid = peer.pid, %error, "a caller could not be held");
                None
            }
        }
    }

    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        let caller = request.extensions().get::<Arc<Self>>().cloned();
        caller.ok_or_else(|| Status::permission_denied("the kernel does not say which process calls"))
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
    let turn = core.measuring.take(uid).await;
    let measure = move || {
        let _turn = turn;
        measure(process(&holder), &core.digests)
    };
    let measured = tokio::task::spawn_blocking(measure).await;
    let measured = measured.map_err(|_| Status::internal("measuring failed"))?;
    let measurement = measured.map_err(|error| match error {
        HostError::Ended(_) => ended("the process has ended"),
        other => Status::permission_denied(format!("the process could not be measured: {other}")),
    })?;
    Ok((measurement, now()))
}
