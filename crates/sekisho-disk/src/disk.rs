//! The one place that asks the kernel to make bytes durable.
//!
//! After an fsync that failed the kernel may mark pages clean that never reached the disk: a second fsync of that inode
//! then succeeds and means nothing (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
//! So what is written here goes into a new inode each time, and an inode whose fsync failed is given up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sekisho_ports::Machine;

use crate::durable::Durable;
use crate::error::DiskError;
use lossy::LossyDisk;

/// The machine's own.
struct Kernel;

impl Durable for Kernel {
    fn sync_file(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self, folder: &File, _: &Path) -> io::Result<()> {
        folder.sync_all()
    }
}

/// A disk; cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk(Arc<dyn Durable>);

impl Disk {
    /// The disk of this machine.
    pub(crate) fn of_machine() -> Self {
        Self(match Machine::current() {
            Some(machine) => machine.device::<LossyDisk>(),
            None => Arc::new(Kernel),
        })
    }

    #[cfg(test)]
    pub(crate) fn of(durable: Arc<dyn Durable>) -> Self {
        Self(durable)
    }

    /// Replaces `path` by `bytes`, mode 0600: after a crash either the old content is there or the new.
    pub(crate) fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_file(path, bytes)?;
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// Like [`Self::write_atomic`], but the name is durable only with the next [`Self::sync_folder`].
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let (mut file, temporary) = new_inode(path)?;
        let written = file.write_all(bytes).and_then(|()| self.0.sync_file(&file, &temporary));
        written.inspect_err(|_| forget(&temporary)).map_err(DiskError::io(&temporary))?;
        std::fs::rename(&temporary, path).map_err(DiskError::io(path))
    }

    pub(crate) fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let synced = File::open(folder).and_then(|file| self.0.sync_folder(&file, folder));
        synced.map_err(DiskError::io(folder))
    }

    /// What an append wrote. After a failure nothing that is written to this file counts.
    pub(crate) fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.0.sync_file(file, path)
    }
}

/// Replaces `path` by `bytes` for readers: they see the old content or the new, never half of one. Not durable before
/// the file that this returns is synced. That sync is the first of its inode: it reports every failure to write since.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<File, DiskError> {
    let (mut file, temporary) = new_inode(path)?;
    file.write_all(bytes).inspect_err(|_| forget(&temporary)).map_err(DiskError::io(&temporary))?;
    std::fs::rename(&temporary, path).map_err(DiskError::io(path))?;
    Ok(file)
}

/// A file beside `path` that no earlier attempt wrote to.
fn new_inode(path: &Path) -> Result<(File, PathBuf), DiskError> {
    let temporary = path.with_added_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(DiskError::io(&temporary)(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    file.map(|file| (file, temporary.clone())).map_err(DiskError::io(&temporary))
}

fn forget(temporary: &Path) {
    if let Err(error) = std::fs::remove_file(temporary) {
        tracing::warn!(path = %temporary.display(), %error, "a file that could not be written was not removed");
    }
}

pub(crate) mod lossy;
