//! Who waits for whom: processes of one user for each other, never for another user's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Users that are remembered although none of their processes waits.
const MAX_IDLE: usize = 1024;

/// Turns by user. Measuring reads files of the measured process's choice, and may take as long as that process likes.
pub(crate) struct Turns {
    at_once: usize,
    by_user: Mutex<BTreeMap<u32, Arc<Semaphore>>>,
}

impl Turns {
    pub(crate) const fn new(at_once: usize) -> Self {
        Self { at_once, by_user: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for a turn, which ends when it is dropped.
    pub(crate) async fn take(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
            if by_user.len() > MAX_IDLE {
                by_user.retain(|_, turns| Arc::strong_count(turns) > 1);
            }
            by_user.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(self.at_once))).clone()
        };
        // Never closed.
        turns.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn law_l9_one_users_processes_wait_for_each_other_only() {
        let turns = Turns::new(2);
        let waits = async |uid| tokio::time::timeout(Duration::from_millis(20), turns.take(uid)).await;
        let first = waits(7).await.unwrap();
        let _second = waits(7).await.unwrap();
        assert!(waits(7).await.is_err());
        assert!(waits(8).await.is_ok());
        drop(first);
        assert!(waits(7).await.is_ok());
    }
}
