//! A cgroup that exists as long as this value.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::probe::cgroup2;

#[derive(Debug)]
pub struct ScratchCgroup {
    path: PathBuf,
}

impl ScratchCgroup {
    /// Beside all others, at the root of the file system of cgroups.
    pub fn create() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = cgroup2().ok_or_else(|| io::Error::other("no cgroup2 file system is mounted"))?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("sekisho-selftest-{}-{number}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("cgroup {}: {error}", path.display())))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into it.
    pub fn admit(&self, process: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for ScratchCgroup {
    fn drop(&mut self) {
        let below = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let children = below.map(|entry| entry.path()).filter(|path| path.is_dir());
        for path in children.chain([self.path.clone()]).collect::<Vec<_>>() {
            // The kernel takes a moment until a process that was killed has left.
            for _ in 0..50 {
                match fs::remove_dir(&path) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(Duration::from_millis(4))
                    }
                    _ => break,
                }
            }
        }
    }
}
