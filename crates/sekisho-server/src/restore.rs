//! The way back of a copy, and what becomes of the log by it (decisions/0018).

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use sekisho_disk::{DiskError, Segments, lock_used_folder};
use sekisho_runtime::instant;
use sekisho_types::TrustDomain;

use crate::backup::{BackupError, COPY_MARK, Copied, check, copy_tree, io};
use crate::lineage::{self, LineageError};
use crate::log_binding;

/// Why the log goes on elsewhere, as its first new leaf says it.
const EVENT: &str = "log continued after a restore";

/// What was restored, and how the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub copied: Copied,
    pub log: RestoredLog,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoredLog {
    /// The log that was here has all entries of the copy's: it stays, with so many entries.
    Kept { size: u64 },
    /// The copy's log, under this origin and a new key: entries that came after the copy may have been published.
    Continued { origin: String },
}

/// The log that is in the place to which a copy is restored.
enum Here {
    Missing,
    /// It holds all entries of the copy, so many in all, and the newest of them were made at this revision of the
    /// state.
    Newer {
        size: u64,
        revision: u64,
    },
    /// The copy holds all its entries, and more.
    Older,
    Other(u64),
}

/// Puts the copy at `from`, which is only read, in the place of `data`, whose server does not run. What was there is
/// kept beside it.
pub fn restore(
    from: &Path,
    data: &Path,
    trust_domain: &TrustDomain,
    danger_accept_older_log: bool,
) -> Result<Restored, BackupError> {
    if !from.join("state.db").is_file() {
        return Err(BackupError::NoServer(from.display().to_string()));
    }
    lineage::check_trust_domain(from, trust_domain)?;
    // Held while it is copied: the folder of a server that runs is not a copy.
    let _idle = idle(from)?;
    drop(idle(data)?);
    let name = data.file_name().ok_or_else(|| BackupError::Name(data.display().to_string()))?;
    let beside = |ending: &str| data.with_file_name(format!("{}.{ending}", name.to_string_lossy()));
    let new = beside("restoring");
    let remove = |path: &Path| if path.exists() { std::fs::remove_dir_all(path).map_err(io(path)) } else { Ok(()) };
    remove(&new)?;
    let restored = prepare(from, &new, data, trust_domain, danger_accept_older_log);
    if restored.is_err() {
        // It holds keys. What cannot be removed is the caller's to see: the first error says why.
        let _best_effort = remove(&new);
    }
    let restored = restored?;
    if data.exists() {
        let seconds = sekisho_runtime::now().seconds();
        let names = std::iter::once(format!("before-{seconds}")).chain((2..).map(|n| format!("before-{seconds}-{n}")));
        let old = names.map(|ending| beside(&ending)).find(|path| !path.exists()).unwrap_or_else(|| beside("before"));
        std::fs::rename(data, &old).map_err(io(data))?;
    }
    std::fs::rename(&new, data).map_err(io(data))?;
    Ok(restored)
}

/// Makes in `new` what takes the place of `data`.
fn prepare(
    from: &Path,
    new: &Path,
    data: &Path,
    trust_domain: &TrustDomain,
    danger_accept_older_log: bool,
) -> Result<Restored, BackupError> {
    copy_tree(from, new)?;
    let mark = new.join(COPY_MARK);
    if mark.exists() {
        std::fs::remove_file(&mark).map_err(io(&mark))?;
    }
    // Checking writes: it happens here and not in the copy.
    let copied = check(new, trust_domain)?;
    let (keep, revision) = match here(data, new, &copied, trust_domain) {
        // Opening it fails while a server runs.
        Err(LineageError::Disk(error @ DiskError::InUse(_))) => return Err(error.into()),
        Err(error @ LineageError::OtherTrustDomain { .. }) => return Err(error.into()),
        Ok(Here::Newer { revision, .. }) if danger_accept_older_log => (None, revision),
        _ if danger_accept_older_log => (None, 0),
        Err(error) => return Err(BackupError::Unreadable(error.to_string())),
        Ok(Here::Other(here)) => return Err(BackupError::Other { here, backup: copied.log_size }),
        Ok(Here::Newer { size, revision }) => (Some(size), revision),
        Ok(Here::Missing | Here::Older) => (None, 0),
    };
    // A token that was spent after the copy was taken is good in the copy: none of them is (law L4).
    // And agents that have seen later revisions must take those to come for newer still.
    let replaced = data.join("state.db");
    let replaced = replaced.is_file().then_some(replaced.as_path());
    sekisho_store::start_new_epoch(&new.join("state.db"), replaced, revision)?;
    let log = match keep {
        Some(size) => {
            wait_until_idle(new)?;
            move_log_aside(data, new)?;
            RestoredLog::Kept { size }
        }
        None => {
            let reason = format!("a copy with {} entries was restored; later entries may exist", copied.log_size);
            wait_until_idle(new)?;
            let copy = lineage::open(new, trust_domain)?;
            RestoredLog::Continued { origin: lineage::start_new_origin(new, trust_domain, copy, EVENT, &reason)? }
        }
    };
    Ok(Restored { copied, log })
}

/// Holds the log of a folder, if it has one, so that no server starts on it; refuses one that a server writes.
fn idle(folder: &Path) -> Result<Option<File>, DiskError> {
    lock_used_folder(&folder.join("ledger"))
}

/// Waits for the end of a writer of this process. Blocks: a restore has a thread of its own.
fn wait_until_idle(folder: &Path) -> Result<(), DiskError> {
    let until = instant() + Duration::from_secs(10);
    loop {
        match idle(folder) {
            Err(DiskError::InUse(_)) if instant() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            found => return found.map(drop),
        }
    }
}

/// Compares the log in `data` with the copy's. The log alone says how long it is, whatever became of the rest.
fn here(data: &Path, copy: &Path, copied: &Copied, trust_domain: &TrustDomain) -> Result<Here, LineageError> {
    if !data.join("ledger").is_dir() {
        return Ok(Here::Missing);
    }
    let opened = lineage::open(data, trust_domain)?;
    let (ledger, size) = (opened.ledger, opened.recovered.size);
    if size == 0 {
        return Ok(Here::Missing);
    }
    let shorter = size.min(copied.log_size);
    wait_until_idle(copy)?;
    let copy = lineage::open(copy, trust_domain)?.ledger;
    Ok(match ledger.root(shorter).is_some_and(|root| copy.root(shorter) == Some(root)) {
        false => Here::Other(size),
        true if size >= copied.log_size => {
            let revision = log_binding::newest_state(&ledger, 0).map_or(0, |(revision, _)| revision.0);
            Here::Newer { size, revision }
        }
        true => Here::Older,
    })
}

/// Takes the log that was here, its keys and the decisions that cite it, in the place of the copy's.
fn move_log_aside(data: &Path, new: &Path) -> Result<(), BackupError> {
    let mut folders = vec!["ledger"];
    if Segments::open(&data.join("decisions"), u64::MAX).is_ok_and(|decisions| decisions.damaged().is_empty()) {
        folders.push("decisions");
    }
    for name in folders {
        let target = new.join(name);
        if target.exists() {
            std::fs::remove_dir_all(&target).map_err(io(&target))?;
        }
        copy_tree(&data.join(name), &target)?;
    }
    for item in std::fs::read_dir(data.join("keys")).map_err(io(data))? {
        let path = item.map_err(io(data))?.path();
        let Some(name) = path.file_name().filter(|name| name.to_string_lossy().starts_with("log")) else { continue };
        crate::backup::copy_file(&path, &new.join("keys").join(name))?;
    }
    Ok(())
}
