use sekisho_keys::MemoryKey;
use sekisho_ledger::{Checkpoint, leaf_hash, verify_inclusion};
use sekisho_types::SignatureAlgorithm;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::disk::lossy::{LossyDisk, Unsynced};
use crate::ledger_check::LogCheck;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Grows a log far past several emptyings of its write-ahead file and several full tiles. Between batches its folder is
/// copied as a crash would leave it, and each copy must open, hold every entry and prove it.
#[tokio::test]
async fn every_crash_image_holds_all_acknowledged_entries() {
    let folder = tempfile::tempdir().unwrap();
    let key: Arc<dyn Signer> = Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
    let live = folder.path().join("live");
    let (ledger, _) = Ledger::open_with(&live, "o", key.clone(), 3000).unwrap();
    for round in 0..60u64 {
        let size = ledger.size();
        for number in 0..(round * 7 % 40 + 1) {
            let index = ledger.append(vec![entry(size + number)]).await.unwrap();
            assert_eq!(index, size + number);
        }
        let (size, _) = ledger.checkpoint_covering(size + round * 7 % 40).await.unwrap();
        // The writer is idle: what is on disk is what a crash would leave.
        let image = folder.path().join(format!("image{round}"));
        copy(&live, &image);
        let (copied, recovered) = Ledger::open_with(&image, "o", key.clone(), 3000).unwrap();
        assert_eq!(recovered.size, size);
        let root = Checkpoint::parse(sekisho_ledger::Note::parse(&copied.checkpoint()).unwrap().text()).unwrap().root;
        for index in (0..size).step_by(13).chain([size - 1]) {
            assert_eq!(copied.entry(index, size), Some(entry(index)), "entry {index} of {size}");
            let path = copied.path(index, size).unwrap();
            verify_inclusion(index, size, &leaf_hash(&leaf(index)), &path, &root).unwrap();
        }
        let next = copied.append(vec![entry(size)]).await.unwrap();
        let (size, _) = copied.checkpoint_covering(next).await.unwrap();
        assert_eq!(copied.entry(next, size), Some(entry(next)));
    }
    assert!(ledger.size() > 1000);
}

fn entry(number: u64) -> NewEntry {
    NewEntry { leaf: leaf(number), side: side(number) }
}

fn leaf(number: u64) -> Vec<u8> {
    format!("leaf {number}").into_bytes()
}

fn side(number: u64) -> Vec<u8> {
    vec![b'x'; usize::try_from(number % 5).unwrap()]
}

#[test]
fn two_writers_of_one_log_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key: Arc<dyn Signer> = Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
    let _first = Ledger::open(folder.path(), "o", key.clone()).unwrap();
    assert!(matches!(Ledger::open(folder.path(), "o", key), Err(DiskError::InUse(_))));
}

fn key() -> Arc<dyn Signer> {
    Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap())
}

/// Each batch is published before the next.
const AT_ONCE: TileSchedule = TileSchedule { publish_every: Duration::ZERO, wal_bytes: 3000 };

fn open_at_once(folder: &Path, key: Arc<dyn Signer>) -> (Ledger, Recovered) {
    Ledger::open_on(Disk::of_machine(), folder, "o", key, TileSchedule { wal_bytes: WAL_BYTES, ..AT_ONCE }).unwrap()
}

/// What a program does with a log whose disk fails now and then: it appends, hears what is durable, starts again.
struct Run {
    lossy: Arc<LossyDisk>,
    live: PathBuf,
    key: Arc<dyn Signer>,
    /// Leaves that were acknowledged, by index.
    acknowledged: Vec<Vec<u8>>,
    attempts: u64,
}

impl Run {
    fn open(&self) -> Option<Ledger> {
        Ledger::open_on(Disk::of(self.lossy.clone()), &self.live, "o", self.key.clone(), AT_ONCE)
            .ok()
            .map(|(ledger, _)| ledger)
    }

    async fn append(&mut self, ledger: &Ledger, count: usize) {
        for _ in 0..count {
            self.attempts += 1;
            let new = leaf(self.attempts);
            if let Ok(index) = ledger.append(vec![NewEntry { leaf: new.clone(), side: vec![7] }]).await {
                // One that was refused may stand in a write-ahead file that a restart reads.
                let index = usize::try_from(index).unwrap();
                assert!(index >= self.acknowledged.len(), "an index was given twice");
                self.acknowledged.resize(index, vec![]);
                self.acknowledged.push(new);
            }
        }
    }

    /// Loses power: every entry that was acknowledged is there, and proves.
    async fn check(&self, failing: &str) {
        for unsynced in [Unsynced::Kept, Unsynced::Lost] {
            let image = tempfile::tempdir().unwrap();
            self.lossy.lose_power(&self.live, image.path(), unsynced).unwrap();
            let disk = Disk::of(Arc::new(LossyDisk::default()));
            let opened = Ledger::open_on(disk, image.path(), "o", self.key.clone(), AT_ONCE);
            let (ledger, recovered) = opened.unwrap_or_else(|e| panic!("{failing}, {unsynced:?}: {e}"));
            assert!(recovered.size >= self.acknowledged.len() as u64, "{failing}, {unsynced:?}: {}", recovered.size);
            let bundles = 0..recovered.size.div_ceil(TILE_WIDTH);
            let found =
                bundles.flat_map(|number| ledger.bundle(number, recovered.size).unwrap()).map(|entry| entry.leaf);
            let found: Vec<_> = found.collect();
            for (index, expected) in (0..).zip(&self.acknowledged).filter(|(_, leaf)| !leaf.is_empty()) {
                let stands = found.get(usize::try_from(index).unwrap());
                assert_eq!(stands, Some(expected), "{failing}, {unsynced:?}: entry {index}");
                if index % 31 == 0 || index > 320 {
                    let path = ledger.path(index, recovered.size).unwrap();
                    let root = ledger.root(recovered.size).unwrap();
                    verify_inclusion(index, recovered.size, &leaf_hash(expected), &path, &root).unwrap();
                }
            }
        }
    }
}

/// Every sync in the life of a log fails once, alone, with either error; then power is lost. A start in between finds
/// the kernel's pages as they were written, and may not believe them.
#[tokio::test]
async fn law_l5_acknowledged_entries_survive_failed_syncs() {
    let key = key();
    let mut failing = 0;
    for restart in [false, true] {
        for number in (0..).step_by(3) {
            let folder = tempfile::tempdir().unwrap();
            let live = folder.path().join("live");
            let (lossy, key) = (Arc::new(LossyDisk::default()), key.clone());
            let mut run = Run { lossy: lossy.clone(), live, key, acknowledged: vec![], attempts: 0 };
            let ledger = run.open().unwrap();
            run.append(&ledger, 250).await;
            let errno = if number % 2 == 0 { rustix::io::Errno::IO } else { rustix::io::Errno::NOSPC };
            lossy.fail(number, errno.raw_os_error());
            let before = lossy.syncs();
            run.append(&ledger, 60).await;
            run.check(&format!("sync {number} with {errno:?}, running")).await;
            let ledger = if restart {
                drop(ledger);
                // The writer ends with its last handle.
                let again = (0..1000).find_map(|_| {
                    std::thread::sleep(Duration::from_millis(2));
                    run.open()
                });
                again.unwrap()
            } else {
                ledger
            };
            run.append(&ledger, 30).await;
            run.check(&format!("sync {number} with {errno:?}, restart {restart}")).await;
            if lossy.syncs() - before < number {
                break;
            }
            failing += 1;
        }
    }
    assert!(failing > 40, "{failing}");
}

/// Also when the sync of the write-ahead file that takes an old one's place fails again and again for lack of space.
#[tokio::test]
async fn a_ledger_recovers_from_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let lossy = Arc::new(LossyDisk::default());
    let mut run =
        Run { lossy: lossy.clone(), live: folder.path().to_owned(), key: key(), acknowledged: vec![], attempts: 0 };
    let ledger = run.open().unwrap();
    run.append(&ledger, 10).await;
    for number in 0..200 {
        lossy.fail(number, rustix::io::Errno::NOSPC.raw_os_error());
    }
    let wanted = run.acknowledged.len() + 300;
    while run.acknowledged.len() < wanted {
        run.append(&ledger, 1).await;
        assert!(run.attempts < 5000, "the ledger takes nothing any more");
    }
    assert!(run.attempts > 310, "nothing failed");
    let size = ledger.checkpoint_covering(wanted as u64 - 1).await.unwrap().0;
    assert!(size >= wanted as u64);
    run.check("no space").await;
}

/// A ledger that began another folder in the place of its own would publish a log without its beginning, and stand in
/// the way of the one that is to come back.
#[tokio::test]
async fn a_moved_ledger_folder_is_not_made_anew() {
    let top = tempfile::tempdir().unwrap();
    let (live, away) = (top.path().join("data/ledger"), top.path().join("away"));
    let (ledger, _) = Ledger::open(&live, "o", key()).unwrap();
    let first = ledger.append(vec![entry(0)]).await.unwrap();
    ledger.checkpoint_covering(first).await.unwrap();
    std::fs::rename(top.path().join("data"), &away).unwrap();
    // The write-ahead file is open, and takes it. Several tries to publish it follow.
    let second = ledger.append(vec![entry(1)]).await.unwrap();
    let published = tokio::time::timeout(Duration::from_millis(1500), ledger.checkpoint_covering(second)).await;
    assert!(published.is_err() && !top.path().join("data").exists());
    std::fs::rename(&away, top.path().join("data")).unwrap();
    let (size, _) = ledger.checkpoint_covering(second).await.unwrap();
    assert_eq!((size, ledger.entry(second, size)), (2, Some(entry(1))));
}

fn bytes_below(folder: &Path) -> u64 {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    items.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

/// One entry at a time, each published before the next comes: 700 leaves used to leave 102 MB of partial tiles.
#[tokio::test]
async fn unused_partial_tiles_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open_at_once(folder.path(), key());
    let entry = |number: u64| NewEntry { leaf: format!("{number:01000}").into_bytes(), side: vec![1; 500] };
    for number in 0..700 {
        ledger.append(vec![entry(number)]).await.unwrap();
        ledger.checkpoint_covering(number).await.unwrap();
    }
    ledger.checkpoint_covering(699).await.unwrap();
    let (kept, own) = (bytes_below(folder.path()), 700 * 1500);
    assert!(kept < 3 * own, "{kept} bytes for {own}");
    // A reader of an older checkpoint finds what it asks for, in a wider tile.
    for size in [1, 100, 255, 256, 300, 699] {
        for index in [0, size / 2, size - 1] {
            assert_eq!(ledger.entry(index, size), Some(entry(index)), "{index} of {size}");
            let root = ledger.root(size).unwrap();
            verify_inclusion(index, size, &leaf_hash(&entry(index).leaf), &ledger.path(index, size).unwrap(), &root)
                .unwrap();
        }
    }
}

fn holds(folder: &Path, secret: &[u8]) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let found = |path: PathBuf| {
        if path.is_dir() {
            return holds(&path, secret);
        }
        let bytes = std::fs::read(&path).unwrap();
        if bytes.windows(secret.len()).any(|window| window == secret) { vec![path] } else { vec![] }
    };
    items.flat_map(found).collect()
}

/// Partial files, the write-ahead file, a restart: what was erased is in none of them, by a search of every byte.
#[tokio::test]
async fn erased_openings_are_nowhere_on_disk() {
    let (folder, key) = (tempfile::tempdir().unwrap(), key());
    let (ledger, _) = open_at_once(folder.path(), key.clone());
    let secret = |number: u64| format!("secret of {number:04}").into_bytes();
    for number in 0..300 {
        ledger.append(vec![NewEntry { leaf: leaf(number), side: secret(number) }]).await.unwrap();
        ledger.checkpoint_covering(number).await.unwrap();
    }
    // What an earlier release left behind.
    let stale = folder.path().join("side/000.p");
    std::fs::create_dir_all(&stale).unwrap();
    std::fs::write(stale.join("100"), secret(7)).unwrap();
    assert!(!holds(folder.path(), &secret(255)).is_empty());
    let erase = |ledger: Ledger, to| tokio::task::spawn_blocking(move || ledger.erase_side(0..to).unwrap());
    assert_eq!(erase(ledger.clone(), 1).await.unwrap(), 1);
    let check = |when: &str| {
        for number in 0..300 {
            let found = holds(folder.path(), &secret(number));
            assert_eq!(found.is_empty(), number < 256, "{when}: secret {number} in {found:?}");
        }
    };
    check("erased");
    assert_eq!(erase(ledger.clone(), 1).await.unwrap(), 0);
    for number in 300..310 {
        ledger.append(vec![NewEntry { leaf: leaf(number), side: secret(number) }]).await.unwrap();
    }
    drop(ledger);
    let (ledger, recovered) = reopened(folder.path(), &key).unwrap();
    assert_eq!(recovered.size, 310);
    check("after a restart");
    assert_eq!(ledger.entry(255, 310).unwrap(), NewEntry { leaf: leaf(255), side: vec![] });
}

/// A log of 17 full bundles and a part of one, all of it in durable tiles.
async fn settled(folder: &Path, key: Arc<dyn Signer>) -> (u64, Hash) {
    let (ledger, _) = Ledger::open(folder, "o", key).unwrap();
    let size = 17 * TILE_WIDTH + 104;
    let first = ledger.append((0..size).map(entry).collect()).await.unwrap();
    assert_eq!(first, 0);
    ledger.settle().unwrap().await.unwrap().unwrap();
    (size, ledger.root(size).unwrap())
}

fn reopened(folder: &Path, key: &Arc<dyn Signer>) -> Result<(Ledger, Recovered), DiskError> {
    (0..1000)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            let opened = Ledger::open(folder, "o", key.clone());
            Some(opened).filter(|opened| !matches!(opened, Err(DiskError::InUse(_))))
        })
        .unwrap()
}

#[tokio::test]
async fn a_log_with_a_damaged_edge_is_refused() {
    let (folder, key) = (tempfile::tempdir().unwrap(), key());
    let (size, _) = settled(folder.path(), key.clone()).await;
    drop(reopened(folder.path(), &key).unwrap());
    let part = |name: &str| folder.path().join(name);
    let edge =
        [part("tile/entries/017.p/104"), part("tile/0/017.p/104"), part("tile/entries/016"), part("tile/1/000.p/17")];
    for file in edge {
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() - 3] ^= 1;
        // A bundle of zeros reads as empty entries.
        for damage in [vec![0; whole.len()], flipped, whole[..whole.len() - 32].to_vec()] {
            std::fs::write(&file, damage).unwrap();
            let opened = reopened(folder.path(), &key);
            assert!(matches!(opened, Err(DiskError::Damaged { .. })), "{}", file.display());
        }
        std::fs::write(&file, whole).unwrap();
    }
    assert_eq!(reopened(folder.path(), &key).unwrap().1.size, size);
}

#[tokio::test]
async fn a_flipped_bit_in_a_log_is_found() {
    let (folder, key) = (tempfile::tempdir().unwrap(), key());
    let (size, root) = settled(folder.path(), key).await;
    let check = || {
        let check = LogCheck::new(folder.path(), size);
        let opens = |leaf: &[u8], side: &[u8]| {
            let number = String::from_utf8_lossy(leaf).trim_start_matches("leaf ").parse();
            number.is_ok_and(|number| side == self::side(number))
        };
        let damage = (0..check.bundles()).flat_map(|number| check.bundle(number, opens)).collect::<Vec<_>>();
        damage.into_iter().chain(check.root(&root)).collect::<Vec<_>>()
    };
    assert_eq!(check(), []);
    let cases = [
        ("tile/entries/003", 24, 3 * 256, 3 * 256 + 3),
        ("tile/0/005", 40 * 32, 5 * 256 + 40, 5 * 256 + 40),
        ("tile/1/000.p/17", 8 * 32 + 1, 8 * 256, 9 * 256 - 1),
        ("side/009", 9, 9 * 256, 10 * 256 - 1),
        ("tile/entries/017.p/104", 400, 17 * 256, 17 * 256 + 103),
    ];
    for (name, at, least, most) in cases {
        let file = folder.path().join(name);
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&file, flipped).unwrap();
        let found = check();
        assert!(
            found.iter().any(|d| d.file == Path::new(name) && d.first >= least && d.last <= most),
            "{name}: {found:?}"
        );
        std::fs::remove_file(&file).unwrap();
        assert!(check().iter().any(|damage| damage.file == Path::new(name)), "{name} is missing");
        std::fs::write(&file, whole).unwrap();
    }
    assert_eq!(check(), []);
}
