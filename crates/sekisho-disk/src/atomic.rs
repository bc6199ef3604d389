use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// Why something is not on disk, or not as it was left.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    InUse(InUse),
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

/// Another process has the folder.
#[derive(Debug, thiserror::Error)]
#[error("{} is in use by {by}; stop that one first, or give this one a folder of its own", folder.display())]
pub struct InUse {
    pub(crate) folder: PathBuf,
    pub(crate) by: String,
}

impl DiskError {
    /// Whether the disk failed, which space or another attempt may fix: what was to be written goes into new files then.
    pub(crate) const fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
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
    Disk::of_machine().write_atomic(path, bytes)
}
