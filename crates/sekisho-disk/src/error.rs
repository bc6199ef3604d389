use std::path::{Path, PathBuf};

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
    /// Whether the disk failed, which space or another attempt may fix: what was to be written goes into new files
    /// then.
    pub(crate) const fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
