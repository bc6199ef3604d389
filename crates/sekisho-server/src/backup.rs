//! Copies of a server's state.
//!
//! A copy is taken while the server runs: the database first, then decisions, the checkpoint, the write-ahead file, the
//! tiles, so that each holds at least what the one before it speaks of. It is opened and checked before it counts as
//! taken.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sekisho_disk::{DiskError, Segments, private_folder};
use sekisho_ledger::{Frontier, TILE_WIDTH, leaf_hash};
use sekisho_store::{SqliteStore, Store, StoreError};
use sekisho_types::TrustDomain;

use crate::authorities::Authorities;
use crate::evidence_folder;
use crate::journal::check_mark;
use crate::lineage::{self, LineageError, Opened};

/// Stands in a copy. A server does not start on one: its log would go on beside the log that it was copied from.
pub(crate) const COPY_MARK: &str = "copy";

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lineage(LineageError),
    #[error("{0} is not a server's data folder: it has no `state.db`")]
    NoServer(String),
    #[error("{0} is not empty; name a new folder")]
    NotEmpty(String),
    #[error("{0} is inside the data folder, which would hold copies of itself; name a folder elsewhere")]
    Inside(String),
    #[error("{0} names no folder that could be replaced; give its path with its name")]
    Name(String),
    #[error(
        "the log here cannot be read ({0}), so whether the backup is older is not known. Nothing was changed. `sekisho \
            ledger fsck` says what is damaged; restore into a new folder with another `--data` to keep this one"
    )]
    Unreadable(String),
    #[error("the copy is not whole: {0}; take another")]
    NotWhole(String),
    #[error(
        "the log here has {here} entries and does not begin with the {backup} of the backup: restoring would take back \
            what was acknowledged. Nothing was changed; restore into a new folder with another `--data` to keep this \
            one"
    )]
    Other { here: u64, backup: u64 },
}

impl From<LineageError> for BackupError {
    fn from(error: LineageError) -> Self {
        match error {
            LineageError::Disk(error) => Self::Disk(error),
            other => Self::Lineage(other),
        }
    }
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub log_size: u64,
    /// Files of decisions that cannot be read whole; they were so before.
    pub damaged: Vec<PathBuf>,
}

/// Copies the server's data folder `data` to the new folder `to`. The server may run. A copy that is not whole is
/// removed again, since it holds keys.
pub fn backup(data: &Path, to: &Path, trust_domain: &TrustDomain) -> Result<Copied, BackupError> {
    if !data.join("state.db").is_file() {
        return Err(BackupError::NoServer(data.display().to_string()));
    }
    lineage::check_trust_domain(data, trust_domain)?;
    if is_inside(to, data) {
        return Err(BackupError::Inside(to.display().to_string()));
    }
    if std::fs::read_dir(to).is_ok_and(|mut items| items.next().is_some()) {
        return Err(BackupError::NotEmpty(to.display().to_string()));
    }
    private_folder(to)?;
    let copied = copy(data, to).and_then(|()| check(to, trust_domain));
    if copied.is_err() {
        // It was empty before. What cannot be removed is the caller's to see: the first error says why.
        let _best_effort = std::fs::remove_dir_all(to);
    }
    copied
}

/// Whether `path`, which need not exist yet, is the folder or below it.
fn is_inside(path: &Path, folder: &Path) -> bool {
    let (Ok(path), Ok(folder)) = (std::path::absolute(path), folder.canonicalize()) else { return false };
    path.ancestors().find_map(|known| known.canonicalize().ok()).is_some_and(|known| known.starts_with(&folder))
}

fn copy(data: &Path, to: &Path) -> Result<(), BackupError> {
    let mark = to.join(COPY_MARK);
    std::fs::write(&mark, "a copy of a server's folder; `sekisho restore` brings it back\n").map_err(io(&mark))?;
    std::fs::set_permissions(&mark, PermissionsExt::from_mode(0o600)).map_err(io(&mark))?;
    sekisho_store::copy_database(&data.join("state.db"), &to.join("state.db"))?;
    copy_tree(&data.join("keys"), &to.join("keys"))?;
    copy_tree(&data.join("decisions"), &to.join("decisions"))?;
    copy_tree(&data.join(evidence_folder::NAME), &to.join(evidence_folder::NAME))?;
    // One that was full meanwhile has another name now.
    copy_missing(&data.join("decisions"), &to.join("decisions"))?;
    // A write-ahead file that was begun anew meanwhile does not fit the tiles around it; then once more.
    for _attempt in 0..5 {
        let ledger = to.join("ledger");
        if ledger.exists() {
            std::fs::remove_dir_all(&ledger).map_err(io(&ledger))?;
        }
        private_folder(&ledger)?;
        let head = || std::fs::read(data.join("ledger/wal")).ok().and_then(|bytes| bytes.get(..16).map(<[u8]>::to_vec));
        let before = head();
        for name in ["origin", "checkpoint", "wal"] {
            copy_file(&data.join("ledger").join(name), &ledger.join(name))?;
        }
        for name in ["tile", "side"] {
            copy_tree(&data.join("ledger").join(name), &ledger.join(name))?;
        }
        if before == head() {
            break;
        }
    }
    Ok(())
}

/// Opens a server's folder as a server would, reads all of its log and decisions.
pub(crate) fn check(folder: &Path, trust_domain: &TrustDomain) -> Result<Copied, BackupError> {
    let Opened { ledger, recovered, .. } = lineage::open(folder, trust_domain)?;
    let size = recovered.size;
    let missing = |number: u64| BackupError::NotWhole(format!("entries from {} on are missing", number * TILE_WIDTH));
    let mut tree = Frontier::default();
    for number in 0..size.div_ceil(TILE_WIDTH) {
        for entry in ledger.bundle(number, size).ok_or_else(|| missing(number))? {
            tree.push(leaf_hash(&entry.leaf), |_, _, _| {});
        }
    }
    if ledger.root(size) != Some(tree.root()) {
        return Err(BackupError::NotWhole("the entries of the log are not those that its checkpoint speaks of".into()));
    }
    let store = SqliteStore::open(&folder.join("state.db"))?;
    let (marks, records) = store.read(|reader| Ok((reader.marks(trust_domain)?, reader.authorities(trust_domain)?)))?;
    check_mark(&ledger, marks.log.as_ref()).map_err(BackupError::NotWhole)?;
    let keys = Authorities::load(trust_domain, store.server(), &folder.join("keys"), records);
    keys.map_err(|error| BackupError::NotWhole(error.to_string()))?;
    let decisions = Segments::open(&folder.join("decisions"), u64::MAX)?;
    Ok(Copied { log_size: size, damaged: decisions.damaged() })
}

pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> BackupError + '_ {
    move |source| BackupError::Io { path: path.to_owned(), source }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), BackupError> {
    let items = match std::fs::read_dir(from) {
        Ok(items) => items,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(from)(error)),
    };
    private_folder(to)?;
    for item in items {
        let path = item.map_err(io(from))?.path();
        let Some(name) = path.file_name() else { continue };
        // Sockets, locks and half-written files are not state.
        if path.is_dir() {
            copy_tree(&path, &to.join(name))?;
        } else if path.is_file() && path.extension().is_none_or(|ending| ending != "new") && name != "lock" {
            copy_file(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// Copies the files of a folder that are not there yet.
fn copy_missing(from: &Path, to: &Path) -> Result<(), BackupError> {
    for item in std::fs::read_dir(from).into_iter().flatten() {
        let path = item.map_err(io(from))?.path();
        if let Some(target) = path.file_name().map(|name| to.join(name)).filter(|target| !target.exists()) {
            copy_file(&path, &target)?;
        }
    }
    Ok(())
}

/// Copies a file durably, with its mode; its owner may write to the copy, also when it comes from a medium that is only
/// read. One that goes away meanwhile was replaced by a fuller one.
pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    match std::fs::copy(from, to) {
        Ok(_) => {
            let mode = std::fs::metadata(to).map_err(io(to))?.permissions().mode();
            std::fs::set_permissions(to, PermissionsExt::from_mode(mode | 0o600)).map_err(io(to))?;
            std::fs::File::open(to).and_then(|file| file.sync_all()).map_err(io(to))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(from)(error)),
    }
}
