//! The way to a folder, in which no other user can put a link or a file.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, mkdirat, open, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PASS: OFlags = FOLDER.union(OFlags::PATH);

pub(super) struct OpenFolder {
    /// Without links and `..`.
    pub path: PathBuf,
    pub fd: OwnedFd,
}

/// Goes to a folder from the root, and makes what is missing. It follows no link, and each folder is looked at before
/// anything is made in it: between the two it stays the same folder, which is open. With `for_others` the umask does
/// not close what is made to the users whose files will be there.
pub(super) fn reach(path: &Path, for_others: bool) -> io::Result<OpenFolder> {
    let (mut at, mut fd) = (PathBuf::from("/"), open("/", PASS, Mode::empty())?);
    is_closed(&fd, &at)?;
    for part in std::path::absolute(path)?.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::ParentDir => OsStr::new(".."),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        if part == Component::ParentDir {
            at.pop();
        } else {
            at.push(name);
        }
        fd = enter(&fd, name, for_others).map_err(|error| {
            let text = format!("{}: {error}", at.display());
            io::Error::new(error.kind(), text)
        })?;
        is_closed(&fd, &at)?;
    }
    let fd = openat(&fd, ".", FOLDER | OFlags::RDONLY, Mode::empty())?;
    if fstat(&fd)?.st_mode & 0o022 != 0 {
        return Err(open_to_others(&at));
    }
    Ok(OpenFolder { path: at, fd })
}

fn enter(parent: &OwnedFd, name: &OsStr, for_others: bool) -> io::Result<OwnedFd> {
    match openat(parent, name, PASS, Mode::empty()) {
        Ok(found) => return Ok(found),
        Err(Errno::NOENT) => {}
        Err(error) => {
            let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_link = FileType::from_raw_mode(found.st_mode).is_symlink();
            return Err(match is_link {
                true => io::Error::other("it is a symbolic link: give the path of the folder itself"),
                false => error.into(),
            });
        }
    }
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) if for_others => {
            let made = openat(parent, name, FOLDER | OFlags::RDONLY, Mode::empty())?;
            fchmod(&made, Mode::from_raw_mode(0o755))?;
        }
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(openat(parent, name, PASS, Mode::empty())?)
}

/// Refuses a folder in which another user could replace what is below it.
fn is_closed(folder: &OwnedFd, path: &Path) -> io::Result<()> {
    let found = fstat(folder)?;
    let (ours, sticky) = ([0, geteuid().as_raw()].contains(&found.st_uid), found.st_mode & 0o1000 != 0);
    if ours && (found.st_mode & 0o022 == 0 || sticky) { Ok(()) } else { Err(open_to_others(path)) }
}

fn open_to_others(path: &Path) -> io::Error {
    let why = format!("other users can replace what is in {}: its mode or its owner lets them", path.display());
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, metadata, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_others_could_replace_is_refused() {
        let own = tempfile::tempdir().unwrap();
        let refused = |name: &str| reach(&own.path().join(name), false).err().map(|error| error.to_string());
        for (name, mode) in [("open", 0o777), ("sticky", 0o1777)] {
            create_dir(own.path().join(name)).unwrap();
            set_permissions(own.path().join(name), Permissions::from_mode(mode)).unwrap();
            assert!(refused(name).unwrap().contains("other users"), "{name}");
        }
        assert!(refused("open/below").unwrap().contains("other users"));
        assert!(!own.path().join("open/below").exists());
        assert_eq!(refused("sticky/below"), None);
    }

    #[test]
    fn no_link_on_the_way_is_followed() {
        let own = tempfile::tempdir().unwrap();
        create_dir(own.path().join("target")).unwrap();
        symlink(own.path().join("target"), own.path().join("link")).unwrap();
        symlink("nowhere", own.path().join("dangling")).unwrap();
        for name in ["link", "link/below", "link/../other", "dangling/below"] {
            let text = reach(&own.path().join(name), false).err().unwrap().to_string();
            assert!(text.contains("symbolic link"), "{name}: {text}");
        }
        assert!(!own.path().join("target/below").exists() && !own.path().join("other").exists());
        let reached = reach(&own.path().join("target/../a/b"), true).unwrap();
        assert_eq!(reached.path, own.path().join("a/b"));
        assert_eq!(metadata(own.path().join("a")).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
