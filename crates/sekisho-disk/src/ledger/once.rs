//! Leaves of an outbox are in the log once, whatever fails and wherever power is lost.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sekisho_keys::MemoryKey;
use sekisho_ledger::TILE_WIDTH;
use sekisho_types::{SignatureAlgorithm, Signer};

use super::*;
use crate::disk::lossy::{LossyDisk, Unsynced};

/// The write-ahead file is emptied every few batches.
const PACE: TileSchedule = TileSchedule { publish_every: Duration::ZERO, wal_bytes: 400 };

/// A server: an outbox whose rows outlive every crash, and its log.
struct Server {
    lossy: Arc<LossyDisk>,
    key: Arc<dyn Signer>,
    waiting: VecDeque<i64>,
    given: i64,
}

fn leaf(number: i64) -> NewEntry {
    NewEntry { leaf: format!("change {number}").into_bytes(), side: vec![1; 3] }
}

impl Server {
    fn open(&self, disk: &Arc<LossyDisk>, folder: &Path) -> Option<Ledger> {
        let key = self.key.clone();
        (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            Ledger::open_on(Disk::of(disk.clone()), folder, "o", key.clone(), PACE).ok().map(|(ledger, _)| ledger)
        })
    }

    /// Some changes, a leaf between them that comes from no outbox, and a drain whose end the database may not take.
    async fn round(&mut self, ledger: &Ledger, round: i64) {
        for _ in 0..=round % 3 {
            self.given += 1;
            self.waiting.push_back(self.given);
        }
        let other = NewEntry { leaf: format!("other {round}").into_bytes(), side: vec![] };
        let _refused = ledger.append(vec![other]).await;
        let some: Vec<i64> = self.waiting.iter().copied().take(4).collect();
        let offered = some.iter().map(|number| (*number, leaf(*number))).collect();
        if ledger.append_once(offered).await.is_ok() && round % 4 != 1 {
            self.waiting.drain(..some.len());
        }
    }

    /// Drains what waits; then each leaf stands once, in order.
    async fn check(&self, ledger: &Ledger, when: &str) {
        let waiting = self.waiting.iter().map(|number| (*number, leaf(*number))).collect();
        ledger.append_once(waiting).await.unwrap_or_else(|error| panic!("{when}: {error}"));
        let last = ledger.append(vec![leaf(0)]).await.unwrap();
        let (size, _) = ledger.checkpoint_covering(last).await.unwrap();
        let bundles = (0..size.div_ceil(TILE_WIDTH)).flat_map(|number| ledger.bundle(number, size).unwrap());
        let texts = bundles.map(|entry| String::from_utf8(entry.leaf).unwrap());
        let numbers = texts.filter_map(|text| text.strip_prefix("change ")?.parse().ok());
        let found: Vec<i64> = numbers.filter(|number| *number > 0).collect();
        assert_eq!(found, (1..=self.given).collect::<Vec<_>>(), "{when}");
    }

    async fn check_images(&self, live: &Path, when: &str) {
        for unsynced in [Unsynced::Kept, Unsynced::Lost] {
            let image = tempfile::tempdir().unwrap();
            self.lossy.lose_power(live, image.path(), unsynced).unwrap();
            let when = format!("{when}, {unsynced:?}");
            let ledger = self.open(&Arc::default(), image.path()).unwrap_or_else(|| panic!("{when}: it does not open"));
            self.check(&ledger, &when).await;
            drop(ledger);
            // And once more, with nothing of the drain kept in the database.
            let again = self.open(&Arc::default(), image.path()).unwrap();
            self.check(&again, &format!("{when}, again")).await;
        }
    }
}

#[tokio::test]
async fn law_l5_a_change_has_one_leaf_after_any_crash() {
    let key: Arc<dyn Signer> = Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
    let mut failing = 0;
    for number in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        let lossy = Arc::new(LossyDisk::default());
        let mut server = Server { lossy: lossy.clone(), key: key.clone(), waiting: VecDeque::new(), given: 0 };
        let mut ledger = server.open(&lossy, &live).unwrap();
        let errno = if number % 2 == 0 { rustix::io::Errno::IO } else { rustix::io::Errno::NOSPC };
        lossy.fail(number, errno.raw_os_error());
        let before = lossy.syncs();
        for round in 0..12 {
            server.round(&ledger, round).await;
            if round == 5 {
                server.check_images(&live, &format!("sync {number} with {errno:?}, round {round}")).await;
            }
            if round == 6 {
                drop(ledger);
                ledger = server.open(&lossy, &live).unwrap();
            }
        }
        server.check_images(&live, &format!("sync {number} with {errno:?}")).await;
        if lossy.syncs() - before <= number {
            break;
        }
        server.check(&ledger, &format!("sync {number} with {errno:?}, running")).await;
        failing += 1;
    }
    assert!(failing > 30, "{failing}");
}
