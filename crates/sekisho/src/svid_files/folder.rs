//! A folder whose files are replaced together, as Kubernetes does for its volumes: each set is a folder of its own,
//! `..data` is a symbolic link to the newest, and the names that programs open are links through `..data`. One rename
//! makes a set current.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::fs::{fchmod, fchown, flock, fstatfs, fsync, mkdirat, openat, readlinkat, renameat, symlinkat, unlinkat};
use rustix::process::{Gid, Uid, geteuid};
use sekisho_runtime::random_hex;

use super::material::Material;

const CURRENT: &str = "..data";
const NEXT: &str = "..data.next";
const SET: &str = "..svid-";
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
    ownership: Ownership,
}

impl Folder {
    /// Opens, and makes if need be, a folder in which no other user can put a link or a file.
    pub(crate) fn open(path: &Path, ownership: Ownership) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        if std::fs::symlink_metadata(path)?.is_symlink() {
            return Err(io::Error::other("it is a symbolic link: give the folder itself"));
        }
        let path = std::fs::canonicalize(path)?;
        path.ancestors().try_for_each(is_closed)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        flock(&fd, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another process writes SVIDs to it"))?;
        Ok(Self { path, fd, ownership })
    }

    /// Whether what is written to it is in memory only.
    pub(crate) fn is_in_memory(&self) -> bool {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        fstatfs(&self.fd).is_ok_and(|found| [TMPFS, RAMFS].contains(&found.f_type))
    }

    /// Makes a set current. Programs see all of the old one or all of the new one.
    pub(crate) fn publish(&self, material: &Material) -> io::Result<Published> {
        let before = readlinkat(&self.fd, CURRENT, Vec::new()).ok().and_then(|name| name.into_string().ok());
        if before.is_some() && self.holds(material) {
            return Ok(Published::Same);
        }
        let name = format!("{SET}{}", random_hex(8));
        self.write_set(&name, material)?;
        self.link(&name, CURRENT)?;
        for file in FILES {
            let target = format!("{CURRENT}/{file}");
            match readlinkat(&self.fd, file, Vec::new()) {
                Ok(found) if found.as_bytes() == target.as_bytes() => {}
                Ok(_) | Err(rustix::io::Errno::NOENT) => self.link(&target, file)?,
                Err(_) => return Err(io::Error::other(format!("`{file}` is there already and is not ours"))),
            }
        }
        fsync(&self.fd)?;
        // The set before stays for programs that are reading it.
        self.remove_sets_but(&[Some(name.as_str()), before.as_deref()])?;
        Ok(if before.is_some() { Published::Changed } else { Published::First })
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
        fchmod(&set, Mode::from_raw_mode(0o755))?;
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

    fn remove_sets_but(&self, kept: &[Option<&str>]) -> io::Result<()> {
        for item in Dir::read_from(self.fd.as_fd())? {
            let name = item?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(SET) || kept.contains(&Some(name.as_str())) {
                continue;
            }
            for file in FILES {
                let _absent = unlinkat(&self.fd, format!("{name}/{file}"), AtFlags::empty());
            }
            unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }
}

/// Refuses a folder in which another user could replace what is below it.
fn is_closed(folder: &Path) -> io::Result<()> {
    let found = std::fs::metadata(folder)?;
    let (ours, sticky) = ([0, geteuid().as_raw()].contains(&found.uid()), found.mode() & 0o1000 != 0);
    if !ours || (found.mode() & 0o022 != 0 && !sticky) {
        let why = format!("other users can replace what is in {}: its mode or its owner lets them", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sekisho_types::{SpiffeId, UnixTime};

    use super::*;

    fn material(serial: &str) -> Material {
        Material {
            spiffe_id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
            serial: serial.into(),
            not_after: UnixTime::default(),
            chain: format!("chain {serial}"),
            key: format!("key {serial}"),
            bundle: "bundle".into(),
        }
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
        let second = Folder::open(&folder.path, Ownership::default()).err().unwrap();
        assert!(second.to_string().contains("another process"), "{second}");
    }

    #[test]
    fn what_others_could_replace_is_refused() {
        let own = tempfile::tempdir().unwrap();
        let open = |name: &str| Folder::open(&own.path().join(name), Ownership::default()).err().map(|e| e.to_string());
        std::fs::create_dir(own.path().join("open")).unwrap();
        std::fs::set_permissions(own.path().join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(open("open").unwrap().contains("other users"));
        assert!(open("open/below").unwrap().contains("other users"));
        std::os::unix::fs::symlink("elsewhere", own.path().join("link")).unwrap();
        assert!(open("link").is_some());
        let folder = Folder::open(&own.path().join("a"), Ownership::default()).unwrap();
        std::fs::write(folder.path.join(KEY), "theirs").unwrap();
        assert!(folder.publish(&material("1")).is_err());
        assert_eq!(std::fs::read_to_string(folder.path.join(KEY)).unwrap(), "theirs");
    }
}
