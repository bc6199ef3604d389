//! A process and its descendants, and the sockets that they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use rustix::fs::{Dir, Mode, OFlags, open, readlinkat};

use crate::proc_text::{all_users, stat_field};
use crate::{HostError, Process};

/// A socket that is asked for; with a user, only in processes that run as that user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub inode: u32,
    pub uid: Option<u32>,
}

/// Whether `pid` is `process` or one of its descendants.
pub fn is_family(process: &Process, pid: i32) -> Result<bool, HostError> {
    let mut at = pid;
    let mut found = false;
    // Upwards, by parents: a list of children knows only those of one thread.
    for _ in 0..64 {
        if at == process.pid() {
            found = true;
            break;
        }
        match parent(at) {
            Some(parent) if parent > 1 => at = parent,
            _ => break,
        }
    }
    process.check_alive()?;
    Ok(found)
}

/// By process, the descriptor of the socket that was found last: the next one is near it, since the kernel gives the
/// lowest number that is free.
pub(crate) type Hints = BTreeMap<i32, u32>;

/// Descriptors that are looked at before all of them are.
const NEAR: u32 = 16;

/// A search for sockets in the descriptors of one family.
pub(crate) struct Search {
    wanted: BTreeSet<Wanted>,
    /// Who holds them.
    pub found: BTreeMap<Wanted, i32>,
    /// Why a process that may hold them could not be read.
    pub unread: BTreeMap<Wanted, String>,
    pub hints: Hints,
}

impl Search {
    /// Looks for the `wanted` sockets in the process `root` and its descendants.
    pub(crate) fn run(root: i32, wanted: BTreeSet<Wanted>, hints: Hints) -> Self {
        let mut search = Self { wanted, found: BTreeMap::new(), unread: BTreeMap::new(), hints };
        search.look_at(root);
        // Most often it is the process itself.
        if search.found.len() < search.wanted.len() {
            let family = family(root);
            family.iter().skip(1).for_each(|pid| search.look_at(*pid));
            search.hints.retain(|pid, _| family.contains(pid));
        }
        search
    }

    fn look_at(&mut self, pid: i32) {
        let users = users(pid);
        let mut left = BTreeMap::<u32, Vec<Wanted>>::new();
        for wanted in self.wanted.iter().filter(|wanted| !self.found.contains_key(*wanted)) {
            if wanted.uid.is_none_or(|uid| users.contains(&uid)) {
                left.entry(wanted.inode).or_default().push(*wanted);
            }
        }
        if left.is_empty() {
            return;
        }
        let near = self.hints.get(&pid).map_or(0..0, |at| at.saturating_sub(NEAR / 2)..at.saturating_add(NEAR));
        let read = sockets_of(pid, near, |descriptor, inode| {
            if let Some(wanted) = left.remove(&inode) {
                self.found.extend(wanted.into_iter().map(|wanted| (wanted, pid)));
                self.hints.insert(pid, descriptor);
            }
            !left.is_empty()
        });
        if let Err(error) = read
            && error.kind() != io::ErrorKind::NotFound
        {
            self.unread.extend(left.into_values().flatten().map(|wanted| (wanted, error.to_string())));
        }
    }
}

/// The users that a process runs as: real, effective, saved and of the file system.
pub(crate) fn users(pid: i32) -> BTreeSet<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    all_users(&status).into_iter().collect()
}

/// When a process started, in clock ticks since boot.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    stat_field(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 19)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat_field(&stat, 1)?.try_into().ok()
}

/// A process and its descendants, nearest first, whichever of their threads made them.
fn family(root: i32) -> Vec<i32> {
    let mut out = vec![root];
    let mut at = 0;
    while let Some(&pid) = out.get(at) {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            out.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
        at += 1;
        if at > 1024 {
            break;
        }
    }
    out
}

/// Calls `each` with the number and the inode of each socket that a process has open, those `near` first, while it
/// wants more.
fn sockets_of(pid: i32, near: Range<u32>, mut each: impl FnMut(u32, u32) -> bool) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut buffer = Vec::new();
    let mut inode = |descriptor: u32| {
        // It may be closed by now.
        let target = readlinkat(&folder, descriptor.to_string(), std::mem::take(&mut buffer)).ok()?;
        let inode = target.to_str().ok().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
        let inode = inode.and_then(|inode| inode.parse().ok());
        buffer = target.into_bytes();
        inode
    };
    for descriptor in near {
        if inode(descriptor).is_some_and(|inode| !each(descriptor, inode)) {
            return Ok(());
        }
    }
    for file in Dir::read_from(&folder)? {
        let descriptor = file?.file_name().to_str().ok().and_then(|name| name.parse().ok());
        let Some(descriptor) = descriptor else { continue };
        if inode(descriptor).is_some_and(|inode| !each(descriptor, inode)) {
            return Ok(());
        }
    }
    Ok(())
}
