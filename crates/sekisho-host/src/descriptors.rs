//! Tables of descriptors, as /proc lists them.
//!
//! The threads of a process share one table, unless one of them asked for its own (unshare(CLONE_FILES)): what that one
//! opens is not in `/proc/<pid>/fd`.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, openat, readlinkat_raw, statat};
use rustix::io::Errno;

use crate::kernel_calls::share_descriptors;

/// Calls `look` for each table of process `pid`, with a thread that has it and with what opens its folder, if the
/// process `matters`. That is asked only of a process that may have something open.
///
/// Each thread is compared with the first and with the last that had another table (kcmp(2)), so that the cost of a
/// thread is one question or one table. Where the kernel does not compare, each thread's table is looked at.
pub(crate) fn tables(
    proc: &OwnedFd,
    pid: i32,
    matters: impl FnOnce() -> bool,
    mut look: impl FnMut(i32, &dyn Fn() -> Result<OwnedFd, Errno>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let (table, tasks) = (format!("{pid}/fd"), format!("{pid}/task"));
    // The folder has a link for each thread beside its own two.
    let has_one_thread = || Ok::<_, Errno>(statat(proc, tasks.as_str(), AtFlags::empty())?.st_nlink == 3);
    let is_empty = is_empty(proc, &table);
    if is_empty && has_one_thread()? || !matters() {
        return Ok(());
    }
    let first = if is_empty { Ok(()) } else { look(pid, &|| folder(proc, &table)) };
    // Those of other threads may be readable: a first thread that has stopped belongs to root.
    if first == Err(Errno::TOOBIG) || has_one_thread()? {
        return first;
    }
    let tasks = folder(proc, tasks)?;
    let mut last = pid;
    each(&tasks, |name| {
        let Some(thread) = number(name).filter(|thread| *thread != pid) else { return Ok(()) };
        let shares = |with: i32| share_descriptors(with, thread).unwrap_or(false);
        if shares(pid) || last != pid && shares(last) {
            return Ok(());
        }
        last = thread;
        match look(thread, &|| folder(&tasks, format!("{thread}/fd"))) {
            // This thread has stopped.
            Err(Errno::NOENT | Errno::SRCH) => Ok(()),
            other => other,
        }
    })?;
    first
}

pub(crate) fn folder(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a table is known to be empty, without opening its folder: since Linux 6.2 the folder's size is the number of
/// descriptors. Kernel threads have none, and there are many of them.
fn is_empty(proc: &OwnedFd, table: &str) -> bool {
    static COUNTED: OnceLock<bool> = OnceLock::new();
    let size = |path: &str| statat(proc, path, AtFlags::empty()).map(|found| found.st_size);
    // This program has descriptors open, so a kernel that counts them counts some.
    *COUNTED.get_or_init(|| size("self/fd").is_ok_and(|own| own > 0)) && size(table) == Ok(0)
}

/// A buffer for the names in a folder.
pub(crate) const NAMES: [MaybeUninit<u8>; 8192] = [const { MaybeUninit::uninit() }; 8192];

/// Reads a folder without allocating for each name. Names that begin with a dot are left out: `/proc` has none but
/// the folder's own two.
pub(crate) fn each(folder: &OwnedFd, mut look: impl FnMut(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    let mut buffer = NAMES;
    let mut names = RawDir::new(folder, &mut buffer);
    while let Some(name) = names.next() {
        let name = name?;
        if !name.file_name().to_bytes().starts_with(b".") {
            look(name.file_name())?;
        }
    }
    Ok(())
}

pub(crate) fn number(name: &CStr) -> Option<i32> {
    std::str::from_utf8(name.to_bytes()).ok()?.parse().ok()
}

/// The inode of the socket behind a descriptor: its link is `socket:[inode]`. Fails if the link may not be read; the
/// folder of another's descriptors opens for root even where the links do not.
pub(crate) fn socket_behind(descriptors: &OwnedFd, descriptor: &CStr) -> Result<Option<u32>, Errno> {
    // Only a socket's link has its form and is so short.
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32];
    let link = match readlinkat_raw(descriptors, descriptor, &mut buffer) {
        Ok((link, _)) => link,
        Err(error @ (Errno::ACCESS | Errno::PERM)) => return Err(error),
        // Closed meanwhile.
        Err(_) => return Ok(None),
    };
    let inode = link.strip_prefix(b"socket:[").and_then(|rest| rest.strip_suffix(b"]"));
    Ok(inode.and_then(|inode| std::str::from_utf8(inode).ok()?.parse().ok()))
}
