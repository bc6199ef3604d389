//! A folder whose files are replaced together, as Kubernetes does for its volumes: each set is a folder of its own,
//! `..data` is a symbolic link to the newest, and the names that programs open are links through `..data`. One rename
//! makes a set current.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, statat};
use rustix::fs::{fchmod, fchown, flock, fstatfs, fsync, mkdirat, openat, readlinkat, renameat, symlinkat, unlinkat};
use rustix::process::{Gid, Uid};
use sekisho_runtime::random_hex;

use super::material::Material;
use super::safe_path;

const CURRENT: &str = "..data";
const NEXT: &str = "..data.next";
const SET: &str = "..svid-";
/// Locked by the process that writes the folder. Of mode 0600: a user who cannot open it cannot lock it.
const LOCK: &str = "..lock";
/// Mode of a set that is complete; before, only we read it.
const FINISHED: u32 = 0o755;
pub(crate) const SVID: &str = "svid.pem";
pub(crate) const KEY: &str = "svid_key.pem";
pub(crate) const BUNDLE: &str = "bundle.pem";
/// Certificates and key in one file, as HAProxy reads them.
pub(crate) const WITH_KEY: &str = "svid_with_key.pem";
const FILES: [&str; 4] = [SVID, KEY, BUNDLE, WITH_KEY];

/// Whose the files are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ownership {
    pub user: Option<u32>,
    /// May read the key (0640 instead of 0600).
    pub group: Option<u32>,
}

impl Ownership {
    const fn is_another(self) -> bool {
        self.user.is_some() || self.group.is_some()
    }
}

/// What a set came after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// No file was there, so that no program has read one.
    First,
    Changed,
    /// The files hold this already.
    Same,
}

/// A folder that one process writes, locked while this lives.
pub(crate) struct Folder {
    pub path: PathBuf,
    fd: OwnedFd,
    _lock: OwnedFd,
    ownership: Ownership,
}

impl Folder {
    /// Opens, and makes if need be, a folder in which no other user can put a link or a file.
    pub(crate) fn open(path: &Path, ownership: Ownership) -> io::Result<Self> {
        let safe_path::OpenFolder { path, fd } = safe_path::reach(path, ownership.is_another())?;
        let lock = lock(&fd)?;
        let folder = Self { path, fd, _lock: lock, ownership };
        folder.remove_unfinished_sets()?;
        Ok(folder)
    }

    /// Whether what is written to it is in memory only.
    pub(crate) fn is_in_memory(&self) -> bool {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        fstatfs(&self.fd).is_ok_and(|found| [TMPFS, RAMFS].contains(&found.f_type))
    }

    /// Makes a set current. Programs see all of the old one or all of the new one. After an error, a set that is
    /// complete may be current already: the next attempt finds it so.
    pub(crate) fn publish(&self, material: &Material) -> io::Result<Published> {
        FILES.iter().try_for_each(|file| self.name(file))?;
        let before = readlinkat(&self.fd, CURRENT, Vec::new()).ok().and_then(|name| name.into_string().ok());
        if before.is_some() && self.holds(material) {
            return Ok(Published::Same);
        }
        let name = format!("{SET}{}", random_hex(8));
        if let Err(error) = self.write_set(&name, material).and_then(|()| self.link(&name, CURRENT)) {
            // It holds a key. That it cannot be removed says less than why it was not written.
            let _second = self.remove_set(&name);
            return Err(error);
        }
        fsync(&self.fd)?;
        // The set before stays for programs that are reading it.
        self.remove_sets_but(&[Some(name.as_str()), before.as_deref()])?;
        Ok(if before.is_some() { Published::Changed } else { Published::First })
    }

    /// The name that programs open, which leads to the set that is current.
    fn name(&self, file: &str) -> io::Result<()> {
        let target = format!("{CURRENT}/{file}");
        match readlinkat(&self.fd, file, Vec::new()) {
            Ok(found) if found.as_bytes() == target.as_bytes() => Ok(()),
            Ok(_) | Err(rustix::io::Errno::NOENT) => self.link(&target, file),
            Err(_) => Err(io::Error::other(format!("`{file}` is there already and is not ours"))),
        }
    }

    fn holds(&self, material: &Material) -> bool {
        let is = |file: &str, text: &str| {
            let found = std::fs::read(self.path.join(CURRENT).join(file)).unwrap_or_default();
            found == text.as_bytes()
        };
        is(SVID, &material.chain) && is(KEY, &material.key) && is(BUNDLE, &material.bundle)
    }

    fn write_set(&self, name: &str, material: &Material) -> io::Result<()> {
        mkdirat(&self.fd, name, Mode::RWXU)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let set = openat(&self.fd, name, flags, Mode::empty())?;
        let private = if self.ownership.group.is_some() { 0o640 } else { 0o600 };
        self.write(&set, SVID, &[&material.chain], 0o644)?;
        self.write(&set, BUNDLE, &[&material.bundle], 0o644)?;
        self.write(&set, KEY, &[&material.key], private)?;
        self.write(&set, WITH_KEY, &[&material.chain, &material.key], private)?;
        fchmod(&set, Mode::from_raw_mode(FINISHED))?;
        Ok(fsync(&set)?)
    }

    /// Until the last line before it is written, a file is of mode 0600, whatever the umask.
    fn write(&self, set: &OwnedFd, name: &str, texts: &[&String], mode: u32) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(set, name, flags, Mode::RUSR | Mode::WUSR)?;
        let Ownership { user, group } = self.ownership;
        if user.is_some() || group.is_some() {
            fchown(&fd, user.map(Uid::from_raw), group.map(Gid::from_raw))?;
        }
        fchmod(&fd, Mode::from_raw_mode(mode))?;
        let mut file = File::from(fd);
        texts.iter().try_for_each(|text| file.write_all(text.as_bytes()))?;
        file.sync_all()
    }

    fn link(&self, target: &str, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, NEXT, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        symlinkat(target, &self.fd, NEXT)?;
        Ok(renameat(&self.fd, NEXT, &self.fd, name)?)
    }

    fn sets(&self) -> io::Result<Vec<String>> {
        let mut found = vec![];
        for item in Dir::read_from(self.fd.as_fd())? {
            let name = item?.file_name().to_string_lossy().into_owned();
            found.extend(name.starts_with(SET).then_some(name));
        }
        Ok(found)
    }

    fn remove_sets_but(&self, kept: &[Option<&str>]) -> io::Result<()> {
        let sets = self.sets()?;
        sets.iter().filter(|name| !kept.contains(&Some(name.as_str()))).try_for_each(|name| self.remove_set(name))
    }

    /// Those that a process was writing when it was killed. A set that is complete may have readers.
    fn remove_unfinished_sets(&self) -> io::Result<()> {
        for name in self.sets()? {
            let found = statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if found.st_mode & 0o777 != FINISHED {
                self.remove_set(&name)?;
            }
        }
        Ok(())
    }

    fn remove_set(&self, name: &str) -> io::Result<()> {
        for file in FILES {
            let _absent = unlinkat(&self.fd, format!("{name}/{file}"), AtFlags::empty());
        }
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Any user who can open a file can lock it: a file of ours that only we open, and not the folder.
fn lock(folder: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(folder, LOCK, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("`{LOCK}`: {error}")))?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::other("another process writes SVIDs to it"))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn material(serial: &str) -> Material {
        Material::of_test(serial)
    }

    #[test]
    fn a_set_is_replaced_whole_and_kept_once() {
        let own = tempfile::tempdir().unwrap();
        let folder = Folder::open(&own.path().join("svid"), Ownership::default()).unwrap();
        assert_eq!(folder.publish(&material("1")).unwrap(), Published::First);
        assert_eq!(folder.publish(&material("1")).unwrap(), Published::Same);
        let open = std::fs::canonicalize(folder.path.join(SVID)).unwrap();
        assert_eq!(folder.publish(&material("2")).unwrap(), Published::Changed);
        assert_eq!(std::fs::read_to_string(folder.path.join(WITH_KEY)).unwrap(), "chain 2key 2");
        assert_eq!(std::fs::read_to_string(&open).unwrap(), "chain 1");
        assert_eq!(folder.publish(&material("3")).unwrap(), Published::Changed);
        assert!(!open.exists());
        let mode = std::fs::metadata(folder.path.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    fn sets(folder: &Path) -> usize {
        let items = std::fs::read_dir(folder).unwrap().flatten();
        items.filter(|item| item.file_name().to_string_lossy().starts_with(SET)).count()
    }

    #[test]
    fn only_a_writer_keeps_other_writers_out() {
        let own = tempfile::tempdir().unwrap();
        let open = || Folder::open(&own.path().join("svid"), Ownership::default());
        let first = open().unwrap();
        let second = open().err().unwrap();
        assert!(second.to_string().contains("another process"), "{second}");
        let lock = std::fs::metadata(first.path.join(LOCK)).unwrap();
        assert_eq!(lock.permissions().mode() & 0o777, 0o600);
        drop(first);
        // A user who may read the folder can lock it.
        let reader = File::open(own.path().join("svid")).unwrap();
        flock(&reader, FlockOperation::NonBlockingLockExclusive).unwrap();
        opened_again(&own.path().join("svid"));
    }

    /// Opens a folder that was closed here. A child that another test starts has the lock too until it executes its
    /// program.
    fn opened_again(path: &Path) -> Folder {
        for _ in 0..500 {
            match Folder::open(path, Ownership::default()) {
                Ok(folder) => return folder,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        Folder::open(path, Ownership::default()).unwrap()
    }

    #[test]
    fn a_set_that_fails_leaves_no_key() {
        let own = tempfile::tempdir().unwrap();
        let path = own.path().join("svid");
        let folder = Folder::open(&path, Ownership::default()).unwrap();
        std::fs::create_dir(path.join(CURRENT)).unwrap();
        assert!(folder.publish(&material("1")).is_err());
        assert_eq!(sets(&path), 0);
        std::fs::remove_dir(path.join(CURRENT)).unwrap();
        assert_eq!(folder.publish(&material("1")).unwrap(), Published::First);
        drop(folder);
        // As a process leaves it that is killed while it writes.
        let half = path.join(format!("{SET}half"));
        std::fs::create_dir(&half).unwrap();
        std::fs::set_permissions(&half, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(half.join(KEY), "key").unwrap();
        let folder = opened_again(&path);
        assert_eq!((half.exists(), sets(&path)), (false, 1));
        assert_eq!(folder.publish(&material("1")).unwrap(), Published::Same);
    }

    #[test]
    fn a_file_of_another_program_stays() {
        let own = tempfile::tempdir().unwrap();
        let folder = Folder::open(&own.path().join("a"), Ownership::default()).unwrap();
        std::fs::write(folder.path.join(KEY), "theirs").unwrap();
        assert!(folder.publish(&material("1")).is_err());
        assert_eq!(std::fs::read_to_string(folder.path.join(KEY)).unwrap(), "theirs");
    }
}
