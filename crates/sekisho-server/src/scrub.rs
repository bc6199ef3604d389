//! The log on disk, read again: all of it by `sekisho ledger fsck`, slowly and without end by a running server.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_disk::{Ledger, LogCheck, LogDamage};
use sekisho_events::{Leaf, LeafError};
use sekisho_ledger::{Checkpoint, Note, TrustPolicy};

/// Between two passes a server waits for as long as so many bundles would take.
const PAUSE_BUNDLES: u32 = 14_400;
/// Kept in memory at most; the log of the server names all.
const MAX_DAMAGE: usize = 100;

/// Why a log could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{}: {reason}. If power was lost a moment ago, start the server once; else this is another log's policy, or \
            the checkpoint was changed: restore it from a backup", path.display()
    )]
    Checkpoint { path: PathBuf, reason: String },
}

/// What a check of a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub size: u64,
    pub damage: Vec<LogDamage>,
}

/// Checks all of the log below a server's data folder: entries, tiles, root, openings, write-ahead file. The server may
/// run.
/// `progress` is called with how many bundles of how many are done.
pub fn fsck(data: &Path, policy: &TrustPolicy, mut progress: impl FnMut(u64, u64)) -> Result<Checked, FsckError> {
    let folder = data.join("ledger");
    let checkpoint = read_checkpoint(&folder, policy)?;
    let check = LogCheck::new(&folder, checkpoint.size);
    let mut damage = vec![];
    for number in 0..check.bundles() {
        damage.extend(check.bundle(number, opens));
        progress(number + 1, check.bundles());
    }
    damage.extend(check.root(&checkpoint.root));
    damage.extend(check.write_ahead());
    Ok(Checked { size: checkpoint.size, damage })
}

fn read_checkpoint(folder: &Path, policy: &TrustPolicy) -> Result<Checkpoint, FsckError> {
    let path = folder.join("checkpoint");
    let note = std::fs::read_to_string(&path).map_err(|source| FsckError::Read { path: path.clone(), source })?;
    policy.verify(&note).map_err(|error| FsckError::Checkpoint { path, reason: error.to_string() })
}

/// What a running server found of its own log.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    damage: Mutex<Vec<LogDamage>>,
    bundles: AtomicU64,
}

impl Scrub {
    pub(crate) fn damage(&self) -> Vec<LogDamage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bundles checked since the start.
    pub(crate) fn bundles(&self) -> u64 {
        self.bundles.load(Ordering::Relaxed)
    }

    fn found(&self, new: Vec<LogDamage>) {
        let mut known = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        for damage in new {
            if !known.contains(&damage) && known.len() < MAX_DAMAGE {
                tracing::error!(%damage, "the log is damaged on disk; `sekisho ledger fsck` lists all damage; restore \
                    the log from a backup");
                known.push(damage);
            }
        }
    }
}

/// Reads the log again and again, so many bundles a second at most.
pub(crate) async fn run(scrub: Arc<Scrub>, ledger: Ledger, bundles_per_second: u32) {
    let step = Duration::from_secs(1) / bundles_per_second;
    loop {
        let mut number = 0;
        // The log grows meanwhile.
        while number < ledger.size().div_ceil(sekisho_ledger::TILE_WIDTH) {
            let (found, log) = (scrub.clone(), ledger.clone());
            let done = sekisho_runtime::blocking(move || check_bundle(&found, &log, number)).await;
            if let Err(error) = done {
                tracing::error!(%error, number, "a bundle of the log could not be checked");
            }
            number += 1;
            tokio::time::sleep(step).await;
        }
        tokio::time::sleep(step * PAUSE_BUNDLES).await;
    }
}

/// Whether side data opens what a leaf commits to, and nothing else.
fn opens(leaf: &[u8], side: &[u8]) -> bool {
    // One of a form that is not known here has the right hash; nothing is known against what is kept beside it.
    Leaf::decode(leaf).is_err()
        || !matches!(Leaf::decode_with_side(leaf, side), Err(LeafError::Opening(_) | LeafError::Side))
}

fn check_bundle(scrub: &Scrub, ledger: &Ledger, number: u64) {
    let check = LogCheck::new(ledger.folder(), ledger.size());
    let mut damage = check.bundle(number, opens);
    if number + 1 == check.bundles() {
        let note = ledger.checkpoint();
        let checkpoint = Note::parse(&note).ok().and_then(|note| Checkpoint::parse(note.text()).ok());
        let now = checkpoint.map(|checkpoint| LogCheck::new(ledger.folder(), checkpoint.size).root(&checkpoint.root));
        damage.extend(now.flatten());
        damage.extend(check.write_ahead());
    }
    scrub.bundles.fetch_add(1, Ordering::Relaxed);
    scrub.found(damage);
}
