//! One process at a time in a data folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{DiskError, InUse};

/// Takes a folder until the file that this returns is dropped, or the process ends: any other process that asks gets
/// our number. The lock is the kernel's (flock(2)), so that what a crash leaves behind keeps no one out.
pub fn lock_folder(folder: &Path) -> Result<File, DiskError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut lock = opened.map_err(DiskError::io(&path))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(in_use(&lock, folder));
    }
    // Without the number the lock is as good: the disk may be full.
    let _unsaid = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

/// Keeps others out of a folder that a process has used, without writing into it; `None` if none ever has. The folder
/// may be on a read-only medium.
pub fn lock_used_folder(folder: &Path) -> Result<Option<File>, DiskError> {
    let path = folder.join("lock");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io(&path)(error)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(&lock, folder)),
        // No process holds a lock on a file system without locks.
        Err(_) | Ok(()) => Ok(Some(lock)),
    }
}

fn in_use(lock: &File, folder: &Path) -> DiskError {
    let mut pid = String::new();
    let _unreadable = lock.take(20).read_to_string(&mut pid);
    let by = pid.trim().parse::<u32>().map_or_else(|_| "another process".to_owned(), |pid| format!("process {pid}"));
    DiskError::InUse(InUse { folder: folder.to_owned(), by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_folder_names_its_process() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than any number: left by something else.
        std::fs::write(folder.path().join("lock"), "x".repeat(100)).unwrap();
        let held = lock_folder(folder.path()).unwrap();
        let refused = lock_used_folder(folder.path()).unwrap_err().to_string();
        assert_eq!(refused, lock_folder(folder.path()).unwrap_err().to_string());
        assert!(refused.contains(&format!("in use by process {};", std::process::id())), "{refused}");
        drop(held);
        // A child that another test starts keeps a copy until it runs its program.
        let freed = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            lock_folder(folder.path()).is_ok()
        });
        assert!(freed);
    }
}
