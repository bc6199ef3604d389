//! The queue of measurements: processes of one user wait for each other, never for another user's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_host::Process;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// Users that are remembered although none of their processes waits.
const MAX_IDLE: usize = 1024;

/// How long a process waits for others of its user.
const PATIENCE: Duration = Duration::from_secs(10);

/// Threads for the first permit of each user, and for all further ones. Together they leave a third of the threads that
/// may block (512, as tokio has them) to this program's own files.
const OWN: (usize, usize) = (160, 96);
/// The same for users of other user namespaces: one user may have many thousands of them (subuid(5)).
const GUESTS: (usize, usize) = (48, 32);

/// Permits by user. Measuring reads files of the measured process's choice, and may take as long as that process likes:
/// a file system in user space (FUSE) need not answer at all, and a thread that waits for it cannot be stopped.
pub(crate) struct MeasureQueue {
    at_once: usize,
    own: ThreadLimits,
    guests: ThreadLimits,
    users: Arc<Mutex<BTreeMap<QueueKey, User>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct QueueKey {
    uid: u32,
    is_guest: bool,
}

/// Threads for users without a permit are counted separately, so that the further permits of a few users leave them
/// free.
struct ThreadLimits {
    first: Arc<Semaphore>,
    further: Arc<Semaphore>,
}

struct User {
    queue: Arc<Semaphore>,
    has_first: bool,
}

type Users = Arc<Mutex<BTreeMap<QueueKey, User>>>;

/// A permit, released when dropped.
pub(crate) struct MeasurePermit {
    _of_user: Option<OwnedSemaphorePermit>,
    _thread: Option<OwnedSemaphorePermit>,
    _first: Option<FirstPermit>,
}

/// The first permit of its user; also held while waiting for a thread.
struct FirstPermit(Users, QueueKey);

impl Drop for FirstPermit {
    fn drop(&mut self) {
        if let Some(user) = lock(&self.0).get_mut(&self.1) {
            user.has_first = false;
        }
    }
}

impl MeasureQueue {
    pub(crate) fn new(at_once: usize) -> Self {
        Self::with(at_once, OWN, GUESTS)
    }

    fn with(at_once: usize, own: (usize, usize), guests: (usize, usize)) -> Self {
        let pool = |(first, further)| ThreadLimits {
            first: Arc::new(Semaphore::new(first)),
            further: Arc::new(Semaphore::new(further)),
        };
        Self { at_once, own: pool(own), guests: pool(guests), users: Arc::default() }
    }

    /// Waits for a permit to measure a process of user `uid`, up to a time limit.
    pub(crate) async fn take(&self, uid: u32, process: &Process) -> Result<MeasurePermit, Refusal> {
        let key = QueueKey { uid, is_guest: !process.is_in_own_user_namespace() };
        let taken = tokio::time::timeout(PATIENCE, self.wait(key)).await;
        taken.map_err(|_| Refusal::Measuring)
    }

    async fn wait(&self, key: QueueKey) -> MeasurePermit {
        let queue = {
            let mut users = lock(&self.users);
            if users.len() > MAX_IDLE {
                users.retain(|_, user| Arc::strong_count(&user.queue) > 1 || user.has_first);
            }
            let new = || User { queue: Arc::new(Semaphore::new(self.at_once)), has_first: false };
            users.entry(key).or_insert_with(new).queue.clone()
        };
        // No semaphore here is ever closed.
        let of_user = queue.acquire_owned().await.ok();
        let user_has_one = |user: &mut User| std::mem::replace(&mut user.has_first, true);
        let first = lock(&self.users).get_mut(&key).is_some_and(|user| !user_has_one(user));
        let first = first.then(|| FirstPermit(self.users.clone(), key));
        let pool = if key.is_guest { &self.guests } else { &self.own };
        let threads = if first.is_some() { &pool.first } else { &pool.further };
        let thread = threads.clone().acquire_owned().await.ok();
        MeasurePermit { _of_user: of_user, _thread: thread, _first: first }
    }
}

fn lock(users: &Users) -> MutexGuard<'_, BTreeMap<QueueKey, User>> {
    users.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(queue: &MeasureQueue, uid: u32, is_guest: bool) -> Option<MeasurePermit> {
        tokio::time::timeout(Duration::from_millis(20), queue.wait(QueueKey { uid, is_guest })).await.ok()
    }

    #[tokio::test]
    async fn law_l9_one_users_processes_wait_for_each_other_only() {
        let queue = MeasureQueue::new(2);
        let first = waits(&queue, 7, false).await.unwrap();
        let _second = waits(&queue, 7, false).await.unwrap();
        assert!(waits(&queue, 7, false).await.is_none());
        assert!(waits(&queue, 8, false).await.is_some());
        drop(first);
        assert!(waits(&queue, 7, false).await.is_some());
    }

    #[tokio::test]
    async fn law_l9_hanging_files_leave_threads_for_other_users() {
        let queue = MeasureQueue::with(4, (8, 2), (1, 0));
        let mut hanging = vec![];
        for uid in 0..4 {
            for _ in 0..4 {
                hanging.extend(waits(&queue, uid, false).await);
            }
        }
        assert_eq!(hanging.len(), 4 + 2, "each has one, and all of them two more");
        assert!(waits(&queue, 99, false).await.is_some());
        // A user of another namespace takes no thread from those, however many users it is.
        hanging.extend(waits(&queue, 1_000, true).await);
        for uid in 1_001..1_020 {
            assert!(waits(&queue, uid, true).await.is_none());
        }
        assert!(waits(&queue, 99, false).await.is_some());
        // Those who gave up hold no place.
        hanging.clear();
        assert!(waits(&queue, 1_001, true).await.is_some());
    }
}
