//! A search of /proc for the processes that have a socket open.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use rustix::fs::{AtFlags, CWD, RawDir, statat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::descriptors::{NAMES, each, folder, number, socket_behind, tables};
use crate::kernel_calls::{is_same_file, share_descriptors, users_behind};
use crate::proc_text::all_users;

/// What opening a table costs, in descriptors.
const TABLE: u32 = 8;
/// A table of so many descriptors is not read again for a process that shares it.
const LARGE: u32 = 512;
/// Processes for which a second thread is worth its start.
const MANY: usize = 24;

/// Who holds sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Socket and process.
    pub held: Vec<(u32, i32)>,
    /// Processes whose descriptors this program may not read.
    pub unreadable: Vec<i32>,
}

/// A descriptor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// One of its threads, which may have a table of its own.
    pub thread: i32,
    pub number: i32,
}

/// What is looked for.
pub(crate) enum Sought<'a> {
    /// Sockets by their inodes.
    Sockets(&'a BTreeSet<u32>),
    /// One socket, and a descriptor of it. The kernel compares two descriptors in half the time in which it names one.
    Like(u32, Descriptor),
}

impl Sought<'_> {
    /// The socket behind a descriptor of this thread, if it is one of these.
    fn find(&self, thread: i32, table: &OwnedFd, descriptor: &std::ffi::CStr) -> Result<Option<u32>, Errno> {
        if let Self::Like(socket, like) = self
            && let Some(number) = number(descriptor)
            && let Ok(same) = is_same_file((like.thread, like.number), (thread, number))
        {
            return Ok(same.then_some(*socket));
        }
        // Also where the kernel does not compare: it cannot, or one of the two is closed.
        let socket = socket_behind(table, descriptor)?;
        Ok(socket.filter(|socket| match self {
            Self::Sockets(wanted) => wanted.contains(socket),
            Self::Like(wanted, _) => wanted == socket,
        }))
    }
}

/// One search, by one thread or two.
pub(crate) struct HolderSearch<'a> {
    proc: OwnedFd,
    sought: &'a Sought<'a>,
    users: &'a BTreeSet<u32>,
    /// Descriptors that may still be read.
    left: AtomicU32,
    found: Mutex<Holders>,
}

impl<'a> HolderSearch<'a> {
    /// Reads at most about `left` descriptors.
    pub(crate) fn run(left: u32, sought: &'a Sought<'a>, users: &'a BTreeSet<u32>) -> Result<Holders, Errno> {
        let proc = folder(CWD, c"/proc")?;
        let search = Self { proc, sought, users, left: AtomicU32::new(left), found: Mutex::default() };
        search.all()?;
        let mut found = search.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.held.sort_unstable();
        found.unreadable.sort_unstable();
        Ok(found)
    }

    /// Looks at all processes, at as many together as the kernel names at once. Those that begin meanwhile have higher
    /// numbers most often, and are named last.
    fn all(&self) -> Result<(), Errno> {
        let mut buffer = NAMES;
        let mut names = RawDir::new(&self.proc, &mut buffer);
        let mut pids = vec![];
        while let Some(name) = names.next() {
            pids.extend(number(name?.file_name()));
            if names.is_buffer_empty() {
                self.together(&std::mem::take(&mut pids))?;
            }
        }
        Ok(())
    }

    /// Looks at these processes, with a second thread if that pays and no other search has one.
    fn together(&self, pids: &[i32]) -> Result<(), Errno> {
        static HELPER: Mutex<()> = Mutex::new(());
        let next = AtomicUsize::new(0);
        let look = || -> Result<(), Errno> {
            let mut large = vec![];
            while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.process(*pid, &mut large)?;
            }
            Ok(())
        };
        let pays = pids.len() >= MANY && available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let Some(_only) = pays.then(|| HELPER.try_lock().ok()).flatten() else { return look() };
        scope(|scope| {
            let helper = Builder::new().name("holders".into()).spawn_scoped(scope, look);
            // Without a helper this thread looks at all of them.
            let own = look();
            own.and(helper.map_or(Ok(()), |helper| helper.join().unwrap_or(Err(Errno::IO))))
        })
    }

    fn process(&self, pid: i32, large: &mut Vec<i32>) -> Result<(), Errno> {
        let mut held = BTreeSet::new();
        let read = tables(
            &self.proc,
            pid,
            || is_of(&self.proc, pid, self.users),
            |thread, open| {
                if large.iter().any(|large| share_descriptors(*large, thread).unwrap_or(false)) {
                    // What it holds is its companion's, which is found.
                    return Ok(());
                }
                self.spend(TABLE)?;
                let (table, mut count) = (open()?, 0);
                each(&table, |descriptor| {
                    self.spend(1)?;
                    count += 1;
                    held.extend(self.sought.find(thread, &table, descriptor)?);
                    Ok(())
                })?;
                if count > LARGE {
                    large.push(thread);
                }
                Ok(())
            },
        );
        let is_unreadable = matches!(read, Err(Errno::ACCESS | Errno::PERM));
        if is_unreadable || !held.is_empty() {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.held.extend(held.into_iter().map(|socket| (socket, pid)));
            found.unreadable.extend(is_unreadable.then_some(pid));
        }
        match read {
            // It may have stopped meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn spend(&self, cost: u32) -> Result<(), Errno> {
        let less = |left: u32| left.checked_sub(cost);
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        spent.map(drop).map_err(|_| Errno::TOOBIG)
    }
}

/// Whether a process is of one of these users. Its owner in /proc is its effective user; the kernel knows all of them.
pub(crate) fn is_of(proc: &OwnedFd, pid: i32, users: &BTreeSet<u32>) -> bool {
    match statat(proc, pid.to_string(), AtFlags::empty()) {
        Ok(found) if users.contains(&found.st_uid) => true,
        Ok(_) => {
            let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            let all = pidfd.and_then(|pidfd| users_behind(&pidfd).ok()).map(Vec::from).unwrap_or_else(|| {
                all_users(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
            });
            all.is_empty() || all.iter().any(|uid| users.contains(uid))
        }
        // It has stopped.
        Err(_) => false,
    }
}
