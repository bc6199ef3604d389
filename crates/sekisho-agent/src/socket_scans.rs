//! Scans for the holders of a socket. Callers at the same time share a scan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_host::{Descriptor, Holders, HostError, holders_like, socket_holders};
use tokio::sync::oneshot;

pub(crate) type ScanResult = Result<Arc<Holders>, Arc<HostError>>;

/// Scans of the descriptors of one user's processes. Callers during a scan share the next one: after a change that
/// concerns a thousand streams, the machine is not scanned a thousand times. Users do not wait for each other, since
/// each decides what a scan of its own processes costs.
#[derive(Default)]
pub(crate) struct SocketScans(Mutex<BTreeMap<u32, Arc<UserScan>>>);

#[derive(Default)]
struct UserScan {
    waiting: Mutex<Vec<Waiting>>,
    scanning: tokio::sync::Mutex<()>,
}

/// A caller that waits for a scan.
struct Waiting {
    socket: u32,
    /// One of it.
    like: Descriptor,
    to: oneshot::Sender<ScanResult>,
}

/// Users that are remembered although none of their processes waits.
const MAX_IDLE: usize = 1024;

impl SocketScans {
    /// Which processes of user `uid` hold `socket`, of which `like` is a descriptor, by a scan that began after this
    /// call. `None` if the scan was given up.
    pub(crate) async fn holders(&self, socket: u32, like: Descriptor, uid: u32) -> Option<ScanResult> {
        let user_scan = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if users.len() > MAX_IDLE {
                users.retain(|_, user_scan| Arc::strong_count(user_scan) > 1);
            }
            users.entry(uid).or_default().clone()
        };
        let (to, mut answer) = oneshot::channel();
        user_scan.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { socket, like, to });
        let guard = tokio::select! {
            biased;
            answer = &mut answer => return answer.ok(),
            guard = user_scan.scanning.lock() => guard,
        };
        let waiting = std::mem::take(&mut *user_scan.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let look = move || {
            let wanted: BTreeSet<u32> = waiting.iter().map(|waiting| waiting.socket).collect();
            let found = match waiting.as_slice() {
                [Waiting { socket, like, .. }] => holders_like(*socket, *like, &[uid].into()),
                _ => socket_holders(&wanted, &[uid].into()),
            };
            let found = found.map(Arc::new).map_err(Arc::new);
            for waiting in waiting {
                // Who has gone meanwhile needs no answer.
                let _gone = waiting.to.send(found.clone());
            }
        };
        // Its answer comes by the channel, also to us.
        let _looked = sekisho_runtime::blocking(look).await;
        drop(guard);
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no process.
    const LIKE: Descriptor = Descriptor { thread: i32::MAX, number: 0 };

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_callers_share_scans() {
        let (socket_scans, own) = (Arc::new(SocketScans::default()), sekisho_host::own_uid());
        let ask = |socket: u32| {
            let socket_scans = socket_scans.clone();
            tokio::spawn(async move { socket_scans.holders(socket, LIKE, own).await })
        };
        let asked: Vec<_> = (0..200).map(|n| ask(u32::MAX - n)).collect();
        // One that gives up takes no one's answer along.
        asked[0].abort();
        for answer in asked.into_iter().skip(1) {
            assert!(answer.await.unwrap().unwrap().unwrap().held.is_empty());
        }
        assert!(socket_scans.0.lock().unwrap()[&own].waiting.lock().unwrap().len() <= 1);
    }

    #[tokio::test]
    async fn law_l9_users_do_not_wait_for_others_scans() {
        let (socket_scans, own) = (SocketScans::default(), sekisho_host::own_uid());
        let slow = Arc::new(UserScan::default());
        socket_scans.0.lock().unwrap().insert(7, slow.clone());
        let _under_way = slow.scanning.lock().await;
        assert!(socket_scans.holders(u32::MAX, LIKE, own).await.unwrap().unwrap().held.is_empty());
    }
}
