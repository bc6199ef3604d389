//! A disk that forgets: it knows what would still be there after a loss of power.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use super::*;

/// What a loss of power leaves of what was never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// The kernel had written it all the same.
    Kept,
    /// Names are those of the last sync of their folder, bytes are zeros.
    Lost,
}

#[derive(Default)]
struct State {
    syncs: u64,
    fail: BTreeMap<u64, i32>,
    /// The inodes of files whose sync failed: later ones succeed and write nothing.
    dead: HashSet<u64>,
    durable: HashMap<u64, Vec<u8>>,
    names: HashMap<PathBuf, Vec<(OsString, u64)>>,
    /// Held open, so that no inode's number is used twice.
    open: HashMap<u64, File>,
}

#[derive(Default)]
pub(crate) struct LossyDisk(Mutex<State>);

impl LossyDisk {
    /// The `number`th sync from now fails with this error, counted from 0.
    pub(crate) fn fail(&self, number: u64, errno: i32) {
        let mut state = self.0.lock().unwrap();
        let at = state.syncs + number;
        state.fail.insert(at, errno);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// Copies what a loss of power leaves of `from` to `to`.
    pub(crate) fn lose_power(&self, from: &Path, to: &Path, unsynced: Unsynced) {
        std::fs::create_dir_all(to).unwrap();
        let state = self.0.lock().unwrap();
        for item in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|item| item.path().is_dir()) {
            if unsynced == Unsynced::Kept || state.listed(from).any(|(name, _)| *name == item.file_name()) {
                drop(std::fs::create_dir(to.join(item.file_name())));
            }
        }
        let now = std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|item| item.path().is_file());
        let now: Vec<_> = now.map(|item| (item.file_name(), item.metadata().unwrap().ino())).collect();
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
            std::fs::write(to.join(name), bytes).unwrap();
        }
        drop(state);
        for item in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|item| item.path().is_dir()) {
            if to.join(item.file_name()).is_dir() {
                self.lose_power(&item.path(), &to.join(item.file_name()), unsynced);
            }
        }
    }
}

impl State {
    fn listed(&self, folder: &Path) -> impl Iterator<Item = &(OsString, u64)> {
        self.names.get(folder).into_iter().flatten()
    }

    fn next(&mut self) -> io::Result<()> {
        self.syncs += 1;
        match self.fail.remove(&(self.syncs - 1)) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

impl Durable for LossyDisk {
    fn sync_file(&self, file: &File, _: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
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
        let mut state = self.0.lock().unwrap();
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
