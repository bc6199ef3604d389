//! A disk that forgets: it knows what would still be there after a loss of power. Simulated machines have one, and so
//! have tests of crash images.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::durable::Durable;

/// What a loss of power leaves of what was never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// The kernel had written it all the same.
    Kept,
    /// Names are those of the last sync of their folder, bytes are zeros.
    Lost,
}

#[derive(Default)]
struct State {
    syncs: u64,
    fail: BTreeMap<u64, i32>,
    failures: u64,
    /// The inodes of files whose sync failed: later ones succeed and write nothing.
    dead: HashSet<u64>,
    durable: HashMap<u64, Vec<u8>>,
    names: HashMap<PathBuf, Vec<(OsString, u64)>>,
    /// Held open, so that no inode's number is used twice.
    open: HashMap<u64, File>,
}

/// The disk of a simulated machine: real files, and what of them a loss of power leaves.
#[derive(Default)]
pub struct LossyDisk(Mutex<State>);

impl LossyDisk {
    /// The `number`th sync from now fails with this error, counted from 0.
    pub fn fail(&self, number: u64, errno: i32) {
        let mut state = self.state();
        let at = state.syncs + number;
        state.fail.insert(at, errno);
    }

    /// How many syncs have failed.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// No further sync fails.
    pub fn heal(&self) {
        self.state().fail.clear();
    }

    /// What a file holds now is durable: what does not pass through this disk made it so.
    pub fn adopt(&self, path: &Path) -> io::Result<()> {
        let (inode, mut state) = (std::fs::metadata(path)?.ino(), self.state());
        state.durable.insert(inode, std::fs::read(path)?);
        state.open.insert(inode, File::open(path)?);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let names = state.names.entry(folder.to_owned()).or_default();
        names.retain(|(listed, _)| listed != name);
        names.push((name.to_owned(), inode));
        Ok(())
    }

    /// How many syncs were asked for.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Leaves of a folder what a loss of power leaves. What is there then is durable.
    pub fn lose_power_at(&self, folder: &Path, unsynced: Unsynced) -> io::Result<()> {
        let image = folder.with_added_extension("image");
        self.lose_power(folder, &image, unsynced)?;
        std::fs::remove_dir_all(folder)?;
        std::fs::rename(&image, folder)?;
        self.state().adopt(folder)
    }

    /// Copies what a loss of power leaves of `from` to `to`.
    pub(crate) fn lose_power(&self, from: &Path, to: &Path, unsynced: Unsynced) -> io::Result<()> {
        std::fs::create_dir_all(to)?;
        let state = self.state();
        let Items { folders, files: now } = Items::of(from)?;
        let is_listed = |name: &OsString| state.listed(from).any(|(listed, _)| listed == name);
        let folders = folders.into_iter().filter(|name| unsynced == Unsynced::Kept || is_listed(name));
        let folders: Vec<_> = folders.collect();
        let names = match unsynced {
            Unsynced::Kept => now,
            Unsynced::Lost => state.listed(from).filter(|(name, _)| !from.join(name).is_dir()).cloned().collect(),
        };
        for (name, inode) in names {
            let written = std::fs::read(from.join(&name)).unwrap_or_default();
            let bytes = match state.durable.get(&inode) {
                Some(durable) => durable.clone(),
                None if unsynced == Unsynced::Kept && !state.dead.contains(&inode) => written,
                None => vec![0; written.len()],
            };
            write_private(&to.join(name), &bytes)?;
        }
        drop(state);
        folders.iter().try_for_each(|name| self.lose_power(&from.join(name), &to.join(name), unsynced))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Key files that others may read are refused.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// What is in a folder.
#[derive(Default)]
struct Items {
    folders: Vec<OsString>,
    /// By name and inode.
    files: Vec<(OsString, u64)>,
}

impl Items {
    /// A program that runs may rename a file meanwhile: then the folder is listed again.
    fn of(folder: &Path) -> io::Result<Self> {
        loop {
            match Self::listed(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => {}
                listed => return listed,
            }
        }
    }

    fn listed(folder: &Path) -> io::Result<Self> {
        let mut items = Self::default();
        for item in std::fs::read_dir(folder)? {
            let item = item?;
            let metadata = item.metadata()?;
            if metadata.is_dir() {
                items.folders.push(item.file_name());
            } else {
                items.files.push((item.file_name(), metadata.ino()));
            }
        }
        Ok(items)
    }
}

impl State {
    fn listed(&self, folder: &Path) -> impl Iterator<Item = &(OsString, u64)> {
        self.names.get(folder).into_iter().flatten()
    }

    /// All that is in a folder is durable.
    fn adopt(&mut self, folder: &Path) -> io::Result<()> {
        let mut items = vec![];
        for item in std::fs::read_dir(folder)? {
            let item = item?;
            let (path, metadata) = (item.path(), item.metadata()?);
            if metadata.is_dir() {
                self.adopt(&path)?;
            } else {
                self.durable.insert(metadata.ino(), std::fs::read(&path)?);
                self.open.insert(metadata.ino(), File::open(&path)?);
            }
            items.push((item.file_name(), metadata.ino()));
        }
        self.names.insert(folder.to_owned(), items);
        Ok(())
    }

    fn next(&mut self) -> io::Result<()> {
        self.syncs += 1;
        match self.fail.remove(&(self.syncs - 1)) {
            Some(errno) => {
                self.failures += 1;
                Err(io::Error::from_raw_os_error(errno))
            }
            None => Ok(()),
        }
    }
}

impl Durable for LossyDisk {
    fn sync_file(&self, file: &File, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = file.metadata()?.ino();
        state.open.entry(inode).or_insert(file.try_clone()?);
        if let Err(error) = state.next() {
            state.dead.insert(inode);
            return Err(error);
        }
        if !state.dead.contains(&inode) {
            let bytes = std::fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))?;
            state.durable.insert(inode, bytes);
        }
        Ok(())
    }

    fn sync_folder(&self, _: &File, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.next()?;
        let mut items = vec![];
        for item in std::fs::read_dir(path)? {
            let item = item?;
            let inode = item.metadata()?.ino();
            if let std::collections::hash_map::Entry::Vacant(new) = state.open.entry(inode) {
                new.insert(File::open(item.path())?);
            }
            items.push((item.file_name(), inode));
        }
        state.names.insert(path.to_owned(), items);
        Ok(())
    }
}
