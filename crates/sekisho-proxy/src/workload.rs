//! The workload as this sidecar's child process: starting it, waiting for it and stopping it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use sekisho_host::Process;
use sekisho_runtime::{OnParentExit, runs_its_program, supervised_command};
use tokio::process::{Child, Command};

use crate::config::ProxyArgs;
use crate::error::ProxyError;

/// SIGTERM, as in an exit status.
const TERMINATED: i32 = 15;

/// Starts the command, if one was given. It ends when this process does, however that happens, and has its three
/// standard streams and no other descriptor of ours.
pub(crate) async fn start(args: &ProxyArgs) -> Result<Option<Child>, ProxyError> {
    let Some((program, arguments)) = args.command.split_first() else { return Ok(None) };
    let failed = |source| ProxyError::Start { command: program.clone(), source };
    let mut command = Command::from(supervised_command(program, OnParentExit::Killed));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    // The agent measures what it is then. A child that has exited by now has no PID.
    while child.try_wait().map_err(failed)?.is_none()
        && child.id().and_then(|pid| pid.try_into().ok()).is_some_and(|pid: i32| !runs_its_program(pid))
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Some(child))
}

/// Holds the workload: the child, or the process that was `given`. `None` if the child has exited already.
pub(crate) fn open(child: Option<&mut Child>, given: Option<i32>) -> Result<Option<Process>, ProxyError> {
    let pid = child.as_ref().and_then(|child| child.id()?.try_into().ok()).or(given);
    let process = pid.ok_or(ProxyError::NoWorkload).and_then(|pid| Ok(Process::open(pid)?));
    // A process that has exited cannot be held, and its exit code says more.
    if child.and_then(exit_code).is_some() { Ok(None) } else { process.map(Some) }
}

/// The exit code of a workload that has exited.
pub(crate) fn exit_code(child: &mut Child) -> Option<u8> {
    child.try_wait().ok().flatten().and_then(code)
}

/// Asks a workload that still runs to stop, and kills it after five seconds. Returns its exit code, or 128 and the
/// number of the signal, as a shell does. A workload that stops because it was asked to has not failed.
pub(crate) async fn end(child: &mut Child) -> Option<u8> {
    if let Some(code) = exit_code(child) {
        return Some(code);
    }
    if let Some(pid) = child.id().and_then(|pid| pid.try_into().ok()).and_then(sekisho_host::signal_terminate) {
        tracing::debug!(pid, "the workload was asked to stop");
    }
    match tokio::time::timeout(Duration::from_secs(5), child.wait()).await {
        Ok(Ok(status)) if status.signal() == Some(TERMINATED) => Some(0),
        Ok(status) => status.ok().and_then(code),
        Err(_late) => {
            if let Err(error) = child.kill().await {
                tracing::warn!(%error, "the workload could not be killed");
            }
            child.wait().await.ok().and_then(code)
        }
    }
}

fn code(status: ExitStatus) -> Option<u8> {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal))?;
    u8::try_from(code).ok()
}
