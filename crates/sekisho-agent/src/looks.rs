//! Looks at who holds a socket, shared by those who ask at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_host::{Holders, HostError, socket_holders};
use tokio::sync::oneshot;

pub(crate) type Answer = Result<Arc<Holders>, Arc<HostError>>;

/// Looks at the descriptors of one user's processes. Those who ask while a look is under way share the next one: after
/// a change that concerns a thousand streams, the machine is not read a thousand times. Users do not wait for each
/// other, since each decides what a look at its own processes costs.
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
    /// Which processes of user `uid` hold `socket`, by a look that began after this call. `None` if the look was given
    /// up.
    pub(crate) async fn holders(&self, socket: u32, uid: u32) -> Option<Answer> {
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
            biased;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_callers_share_scans() {
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
    async fn law_l9_users_do_not_wait_for_others_scans() {
        let looks = Looks::default();
        let slow = Arc::new(OfUser::default());
        looks.0.lock().unwrap().insert(7, slow.clone());
        let _under_way = slow.looking.lock().await;
        assert!(looks.holders(u32::MAX, sekisho_host::own_uid()).await.unwrap().unwrap().held.is_empty());
    }
}
