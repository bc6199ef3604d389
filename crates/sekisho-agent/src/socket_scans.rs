//! Scans for the holders of a socket. Callers at the same time share a scan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_host::{Holders, HostError, socket_holders};
use tokio::sync::oneshot;

pub(crate) type ScanResult = Result<Arc<Holders>, Arc<HostError>>;

/// Scans of the descriptors of one user's processes. Callers during a scan share the next one: after a change that
/// concerns a thousand streams, the machine is not scanned a thousand times. Users do not wait for each other, since
/// each decides what a scan of its own processes costs.
#[derive(Default)]
pub(crate) struct SocketScans(Mutex<BTreeMap<u32, Arc<UserScan>>>);

#[derive(Default)]
struct UserScan {
    waiting: Mutex<Vec<(u32, oneshot::Sender<ScanResult>)>>,
    scanning: tokio::sync::Mutex<()>,
}

/// Users that are remembered although none of their processes waits.
const MAX_IDLE: usize = 1024;

impl SocketScans {
    /// Which processes of user `uid` hold `socket`, by a scan that began after this call. `None` if the scan was given
    /// up.
    pub(crate) async fn holders(&self, socket: u32, uid: u32) -> Option<ScanResult> {
        let user_scan = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if users.len() > MAX_IDLE {
                users.retain(|_, user_scan| Arc::strong_count(user_scan) > 1);
            }
            users.entry(uid).or_default().clone()
        };
        let (to, mut answer) = oneshot::channel();
        user_scan.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((socket, to));
        let guard = tokio::select! {
            biased;
            answer = &mut answer => return answer.ok(),
            guard = user_scan.scanning.lock() => guard,
        };
        let waiting = std::mem::take(&mut *user_scan.waiting.lock().unwrap_or_else(PoisonError::into_inner));
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
        drop(guard);
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_callers_share_scans() {
        let (socket_scans, own) = (Arc::new(SocketScans::default()), sekisho_host::own_uid());
        let ask = |socket: u32| {
            let socket_scans = socket_scans.clone();
            tokio::spawn(async move { socket_scans.holders(socket, own).await })
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
        let socket_scans = SocketScans::default();
        let slow = Arc::new(UserScan::default());
        socket_scans.0.lock().unwrap().insert(7, slow.clone());
        let _under_way = slow.scanning.lock().await;
        assert!(socket_scans.holders(u32::MAX, sekisho_host::own_uid()).await.unwrap().unwrap().held.is_empty());
    }
}
