//! This machine's processes, as the agent measures them: in turns by user, on threads that may block.

use std::sync::Arc;

use sekisho_host::{DigestCache, ExecutableId, HostError, Measurement, Process, is_unchanged, measure, traces_others};
use sekisho_runtime::now;
use sekisho_types::UnixTime;

use crate::measure_queue::MeasureQueue;
use crate::refusal::Refusal;
use crate::socket_scans::SocketScans;

pub(crate) struct Host {
    pub own_uid: u32,
    /// A connection that survives exec is served all the same.
    pub danger_inheritable_sockets: bool,
    /// Whether every process's descriptors can be read here.
    pub traces_others: bool,
    pub socket_scans: SocketScans,
    /// Processes of one user that are measured at once.
    pub measuring: MeasureQueue,
    digests: Arc<DigestCache>,
}

impl Host {
    pub(crate) fn new(danger_inheritable_sockets: bool) -> Self {
        Self {
            own_uid: sekisho_host::own_uid(),
            danger_inheritable_sockets,
            traces_others: sees_all(),
            socket_scans: SocketScans::default(),
            measuring: MeasureQueue::new(16),
            digests: Arc::default(),
        }
    }

    /// What a process runs, at once after it connected. `None` once it has exited.
    pub(crate) async fn executable(
        &self,
        uid: u32,
        process: Process,
    ) -> Result<Option<(ExecutableId, Process)>, Refusal> {
        // Its executable may be on a file system of its own, which does not answer.
        let permit = self.measuring.take(uid, &process).await?;
        let look = move || {
            let _permit = permit;
            ExecutableId::of(&process).map(|executable| (executable, process))
        };
        match sekisho_runtime::blocking(look).await.map_err(|_| Refusal::failed("measuring failed"))? {
            Ok(found) => Ok(Some(found)),
            Err(HostError::Stopped(_)) => Ok(None),
            Err(error) => Err(unmeasured(error)),
        }
    }

    /// Measures a process, with a permit of user `uid`.
    pub(crate) async fn measure<H: Send + Sync + 'static>(
        &self,
        uid: u32,
        holder: Arc<H>,
        process: fn(&H) -> &Process,
    ) -> Result<(Measurement, UnixTime), Refusal> {
        let permit = self.measuring.take(uid, process(&holder)).await?;
        let digests = self.digests.clone();
        let measure = move || {
            let _permit = permit;
            measure(process(&holder), &digests)
        };
        let measured = sekisho_runtime::blocking(measure).await;
        let measured = measured.map_err(|_| Refusal::failed("measuring failed"))?;
        Ok((measured.map_err(unmeasured)?, now()))
    }

    /// Refuses to send to a process that is no longer what it was when it was measured. For the last moment before
    /// sending.
    pub(crate) async fn still_measured<H: Send + Sync + 'static>(
        &self,
        holder: &Arc<H>,
        process: fn(&H) -> &Process,
        measured: &Measurement,
    ) -> Result<(), Refusal> {
        let permit = self.measuring.take(measured.uid, process(holder)).await?;
        let (holder, measured) = (holder.clone(), measured.clone());
        let look = move || {
            let _permit = permit;
            is_unchanged(process(&holder), &measured)
        };
        let looked = sekisho_runtime::blocking(look).await.map_err(|_| Refusal::failed("measuring failed"))?;
        if looked.map_err(unmeasured)? { Ok(()) } else { Err(Refusal::Changed) }
    }
}

pub(crate) fn unmeasured(error: HostError) -> Refusal {
    match error {
        HostError::Stopped(_) => Refusal::stopped("the process has stopped"),
        HostError::Proc { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied && !traces_others() => {
            Refusal::Closed
        }
        other => Refusal::Unmeasured(other.to_string()),
    }
}

/// Whether what cannot be read is suspect on this machine.
fn sees_all() -> bool {
    let sees = traces_others();
    if !sees {
        tracing::warn!(
            "not enforced: without CAP_SYS_PTRACE the agent cannot tell whether another user's process shares a \
                connection"
        );
    }
    sees
}
