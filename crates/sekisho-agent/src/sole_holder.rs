//! Before a key is sent: that the process which was measured, and it alone, has the other end of the connection.
//!
//! A program can connect and then run the attested one in the same process, while its parent keeps the connection and
//! reads the key. So (decisions/0024):
//! - the caller itself holds the other end, by descriptors that exec would have closed: no program before the one that was
//!   measured left it behind;
//! - of all processes of its user whose descriptors can be read, none holds it, in any of its threads, but the caller and its
//!   forks, which run the same file.
//!
//! What remains: a descriptor in flight between two processes (SCM_RIGHTS) is in no table, and the attested program itself,
//! or a process that may trace it, can hand on whatever it has. `docs/threat-model.md` has the list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_host::{
    ExecutableId, Hold, Holders, HostError, Process, hold_of, socket_holders, traces_others, unix_peer,
};
use tokio::sync::oneshot;
use tonic::Status;

use crate::caller::{Caller, ended};
use crate::core::Core;

type Answer = Result<Arc<Holders>, Arc<HostError>>;

/// Looks at the descriptors of one user's processes. Those who ask while a look is under way share the next one: after a change
/// that concerns a thousand streams, the machine is not read a thousand times. Users do not wait for each other, since each
/// decides what a look at its own processes costs.
#[derive(Default)]
pub(crate) struct Looks(Mutex<BTreeMap<u32, Arc<OfUser>>>);

#[derive(Default)]
struct OfUser {
    waiting: Mutex<Vec<(u32, oneshot::Sender<Answer>)>>,
    looking: tokio::sync::Mutex<()>,
}

/// Users that are remembered although none of their processes waits.
const MAX_IDLE: usize = 1024;

impl Looks {
    /// Which processes of user `uid` hold `socket`, by a look that began after this call. `None` if the look was given up.
    async fn holders(&self, socket: u32, uid: u32) -> Option<Answer> {
        let of_user = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if users.len() > MAX_IDLE {
                users.retain(|_, of_user| Arc::strong_count(of_user) > 1);
            }
            users.entry(uid).or_default().clone()
        };
        let (to, mut answer) = oneshot::channel();
        of_user.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((socket, to));
        let turn = tokio::select! {
            answer = &mut answer => return answer.ok(),
            turn = of_user.looking.lock() => turn,
        };
        let waiting = std::mem::take(&mut *of_user.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let look = move || {
            let wanted: BTreeSet<u32> = waiting.iter().map(|(socket, _)| *socket).collect();
            let found = socket_holders(&wanted, &[uid].into()).map(Arc::new).map_err(Arc::new);
            for (_, to) in waiting {
                // Who has gone meanwhile needs no answer.
                let _gone = to.send(found.clone());
            }
        };
        // Its answer comes by the channel, also to us.
        let _looked = sekisho_runtime::blocking(look).await;
        drop(turn);
        answer.await.ok()
    }
}

/// Refuses unless the caller, and it alone, would read what is sent on its connection now.
pub(crate) async fn check(core: &Arc<Core>, caller: &Arc<Caller>) -> Result<(), Status> {
    // It decides how many descriptors there are to read.
    let turn = core.measuring.take(caller.uid, &caller.process).await?;
    let look = {
        let (caller, inheritable) = (caller.clone(), core.danger_inheritable_sockets);
        move || {
            let _turn = turn;
            own_hold(&caller, inheritable)
        }
    };
    let looked = sekisho_runtime::blocking(look).await.map_err(|_| Status::internal("looking failed"))?;
    let socket = looked?;
    let found = core.looks.holders(socket, caller.uid).await.ok_or_else(|| Status::internal("looking failed"))?;
    let holders = found.map_err(|error| unknown(&error))?;
    let strangers: Vec<i32> = holders.held.iter().filter(|(held, _)| *held == socket).map(|(_, pid)| *pid).collect();
    if strangers != [caller.process.pid()] {
        // What they run may be a file that does not answer.
        let turn = core.measuring.take(caller.uid, &caller.process).await?;
        let caller = caller.clone();
        let judge = move || {
            let _turn = turn;
            no_strangers(&caller, &strangers, socket)
        };
        let judged = sekisho_runtime::blocking(judge).await;
        judged.map_err(|_| Status::internal("looking failed"))??;
    }
    if core.traces_others && !holders.unreadable.is_empty() {
        let judged = sekisho_runtime::blocking(move || none_hidden(&holders.unreadable)).await;
        judged.map_err(|_| Status::internal("looking failed"))??;
    }
    Ok(())
}

fn unknown(error: &HostError) -> Status {
    Status::permission_denied(format!("whose this connection is cannot be said: {error}"))
}

/// The socket at the other end, which the caller itself must hold.
fn own_hold(caller: &Caller, danger_inheritable_sockets: bool) -> Result<u32, Status> {
    let failed = |error: HostError| match error {
        HostError::Ended(_) => ended("the process has ended"),
        other => unknown(&other),
    };
    let socket = match caller.other_end.get() {
        Some(socket) => *socket,
        None => {
            let found = unix_peer(caller.socket, &caller.process).map_err(failed)?;
            let found = found.ok_or_else(|| ended("the connection was closed"))?;
            *caller.other_end.get_or_init(|| found)
        }
    };
    match hold_of(&caller.process, socket).map_err(failed)? {
        Hold::UntilExec => Ok(socket),
        Hold::AcrossExec if danger_inheritable_sockets => Ok(socket),
        Hold::AcrossExec => Err(Status::permission_denied(
            "another program may have left this connection to the process: its descriptor survives exec; open it with \
             SOCK_CLOEXEC, as the SPIFFE libraries do",
        )),
        Hold::Nothing => Err(Status::permission_denied("the process that connected does not hold this connection")),
    }
}

/// Refuses if one of these processes holds the socket and is neither the caller nor like it: a fork that goes on in the same
/// file as the same user is as much the attested program as the caller is.
fn no_strangers(caller: &Caller, pids: &[i32], socket: u32) -> Result<(), Status> {
    for &pid in pids.iter().filter(|pid| **pid != caller.process.pid()) {
        let Ok(other) = Process::open(pid) else { continue };
        let alike = ExecutableId::of(&other).is_ok_and(|executable| executable == caller.executable)
            && other.owner().is_ok_and(|owner| owner == caller.uid);
        // A child between fork and exec has given it up by now.
        if alike || matches!(hold_of(&other, socket), Ok(Hold::Nothing) | Err(HostError::Ended(_))) {
            continue;
        }
        return Err(Status::permission_denied(format!("process {pid} holds this connection as well")));
    }
    Ok(())
}

/// Refuses if one of these processes could hold anything. With CAP_SYS_PTRACE only processes that another system protects
/// from us are unreadable: root's, which nothing is kept from, or those of a security module, which could be hostile.
fn none_hidden(unreadable: &[i32]) -> Result<(), Status> {
    for &pid in unreadable {
        let owner = Process::open(pid).and_then(|process| process.owner());
        if !matches!(owner, Ok(0) | Err(HostError::Ended(_))) {
            return Err(Status::permission_denied(format!(
                "the descriptors of process {pid} cannot be read, so it could hold this connection as well"
            )));
        }
    }
    Ok(())
}

/// Whether what cannot be read is suspect on this machine.
pub(crate) fn sees_all() -> bool {
    let sees = traces_others();
    if !sees {
        tracing::warn!(
            "not enforced: without CAP_SYS_PTRACE the agent cannot tell whether another user's process shares a connection"
        );
    }
    sees
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn many_who_ask_at_once_share_looks_and_each_is_answered() {
        let (looks, own) = (Arc::new(Looks::default()), sekisho_host::own_uid());
        let ask = |socket: u32| {
            let looks = looks.clone();
            tokio::spawn(async move { looks.holders(socket, own).await })
        };
        let asked: Vec<_> = (0..200).map(|n| ask(u32::MAX - n)).collect();
        // One that gives up takes no one's answer along.
        asked[0].abort();
        for answer in asked.into_iter().skip(1) {
            assert!(answer.await.unwrap().unwrap().unwrap().held.is_empty());
        }
        assert!(looks.0.lock().unwrap()[&own].waiting.lock().unwrap().len() <= 1);
    }

    #[tokio::test]
    async fn law_l9_a_user_does_not_wait_for_a_look_at_anothers_processes() {
        let looks = Looks::default();
        let slow = Arc::new(OfUser::default());
        looks.0.lock().unwrap().insert(7, slow.clone());
        let _under_way = slow.looking.lock().await;
        assert!(looks.holders(u32::MAX, sekisho_host::own_uid()).await.unwrap().unwrap().held.is_empty());
    }
}
