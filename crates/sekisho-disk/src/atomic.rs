use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why something is not on disk, or not as it was left.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is in use by another process; stop that one first", .0.display())]
    InUse(PathBuf),
    #[error("{} is damaged: {what}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error(
        "the log on disk and its checkpoint disagree: {0}; the log was tampered with or an older copy was restored"
    )]
    Inconsistent(&'static str),
    #[error("{0}")]
    Rule(String),
    #[error("the writer has stopped after an earlier failure: {0}")]
    Stopped(String),
}

impl DiskError {
    /// Whether room on the disk would mend it.
    pub(crate) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Makes a folder that only its owner may enter, with its parents.
pub fn private_folder(path: &Path) -> Result<(), DiskError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::io(path))
}

/// Replaces `path` by `bytes`, mode 0600: after a crash either the old content is there or the new.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(DiskError::io(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DiskError::io(&temporary))?;
    std::fs::rename(&temporary, path).map_err(DiskError::io(path))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Replaces `path` by `bytes` for readers: they see the old content or the new, never half of one. Not durable.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    file.and_then(|mut file| file.write_all(bytes)).map_err(DiskError::io(&temporary))?;
    std::fs::rename(&temporary, path).map_err(DiskError::io(path))
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(DiskError::io(folder))
}
