use sekisho_keys::MemoryKey;
use sekisho_ledger::{leaf_hash, verify_inclusion};
use sekisho_types::SignatureAlgorithm;

use super::*;

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
async fn every_crash_image_opens_and_proves_all_that_was_acknowledged() {
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
