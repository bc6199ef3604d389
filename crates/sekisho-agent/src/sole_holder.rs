//! Before a key is sent: that the process which was measured, and it alone, has the other end of the connection.
//!
//! A program can connect and then run the attested one in the same process, while its parent keeps the connection and
//! reads the key. So (decisions/0024):
//! - the caller itself holds the other end, by descriptors that exec would have closed: no program before the one that
//!   was measured left it behind;
//! - of all processes of its user whose descriptors can be read, none holds it, in any of its threads, but the caller
//!   and its forks, which run the same file.
//!
//! What remains: a descriptor in flight between two processes (SCM_RIGHTS) is in no table, and the attested program
//! itself, or a process that may trace it, can hand on whatever it has. `docs/threat-model.md` has the list.

use std::sync::Arc;

use sekisho_host::{Descriptor, ExecutableId, Hold, HostError, Process, hold_of, unix_peer};
use sekisho_runtime::is_simulated;

use crate::caller::Caller;
use crate::host::Host;
use crate::refusal::Refusal;

/// Refuses unless the caller, and it alone, would read what is sent on its connection now.
pub(crate) async fn check(host: &Host, caller: &Arc<Caller>) -> Result<(), Refusal> {
    // Its connections are no sockets: the kernel knows nothing of them.
    if is_simulated() {
        return Ok(());
    }
    // It decides how many descriptors there are to read.
    let permit = host.measuring.take(caller.uid, &caller.process).await?;
    let look = {
        let (caller, inheritable) = (caller.clone(), host.danger_inheritable_sockets);
        move || {
            let _permit = permit;
            own_hold(&caller, inheritable)
        }
    };
    let looked = sekisho_runtime::blocking(look).await.map_err(|_| Refusal::failed("looking failed"))?;
    let (socket, like) = looked?;
    let found =
        host.socket_scans.holders(socket, like, caller.uid).await.ok_or_else(|| Refusal::failed("looking failed"))?;
    let holders = found.map_err(|error| unknown(&error))?;
    let strangers: Vec<i32> = holders.held.iter().filter(|(held, _)| *held == socket).map(|(_, pid)| *pid).collect();
    if strangers != [caller.process.pid()] {
        // What they run may be a file that does not answer.
        let permit = host.measuring.take(caller.uid, &caller.process).await?;
        let caller = caller.clone();
        let judge = move || {
            let _permit = permit;
            check_no_strangers(&caller, &strangers, socket)
        };
        let judged = sekisho_runtime::blocking(judge).await;
        judged.map_err(|_| Refusal::failed("looking failed"))??;
    }
    if host.traces_others && !holders.unreadable.is_empty() {
        let judged = sekisho_runtime::blocking(move || none_hidden(&holders.unreadable)).await;
        judged.map_err(|_| Refusal::failed("looking failed"))??;
    }
    Ok(())
}

fn unknown(error: &HostError) -> Refusal {
    Refusal::UnknownHolder(error.to_string())
}

/// The socket at the other end, which the caller itself must hold, and by which descriptor it does.
fn own_hold(caller: &Caller, danger_inheritable_sockets: bool) -> Result<(u32, Descriptor), Refusal> {
    let failed = |error: HostError| match error {
        HostError::Stopped(_) => Refusal::stopped("the process has stopped"),
        other => unknown(&other),
    };
    let socket = match caller.other_end.get() {
        Some(socket) => *socket,
        None => {
            let found = unix_peer(caller.socket, &caller.process).map_err(failed)?;
            let found = found.ok_or_else(|| Refusal::stopped("the connection was closed"))?;
            *caller.other_end.get_or_init(|| found)
        }
    };
    match hold_of(&caller.process, socket).map_err(failed)? {
        Hold::UntilExec(like) => Ok((socket, like)),
        Hold::AcrossExec(like) if danger_inheritable_sockets => Ok((socket, like)),
        Hold::AcrossExec(_) => Err(Refusal::Inherited),
        Hold::Nothing => Err(Refusal::NotHeld),
    }
}

/// Refuses if one of these processes holds the socket and is neither the caller nor like it: a fork that goes on in the
/// same file as the same user is as much the attested program as the caller is.
fn check_no_strangers(caller: &Caller, pids: &[i32], socket: u32) -> Result<(), Refusal> {
    for &pid in pids.iter().filter(|pid| **pid != caller.process.pid()) {
        let Ok(other) = Process::open(pid) else { continue };
        let alike = ExecutableId::of(&other).is_ok_and(|executable| executable == caller.executable)
            && other.owner().is_ok_and(|owner| owner == caller.uid);
        // A child between fork and exec has given it up by now.
        if alike || matches!(hold_of(&other, socket), Ok(Hold::Nothing) | Err(HostError::Stopped(_))) {
            continue;
        }
        return Err(Refusal::HeldByOther(pid));
    }
    Ok(())
}

/// Refuses if one of these processes could hold anything. With CAP_SYS_PTRACE only processes that another system
/// protects from us are unreadable: root's, which nothing is kept from, or those of a security module, which could be
/// hostile.
fn none_hidden(unreadable: &[i32]) -> Result<(), Refusal> {
    for &pid in unreadable {
        let owner = Process::open(pid).and_then(|process| process.owner());
        if !matches!(owner, Ok(0) | Err(HostError::Stopped(_))) {
            return Err(Refusal::Hidden(pid));
        }
    }
    Ok(())
}
