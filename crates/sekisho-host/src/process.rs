use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::proc_text;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("process {0} has stopped")]
    Stopped(i32),
    #[error(
        "process {0}: the kernel measured another file under the path of its executable than /proc shows; \
         this machine may be under attack"
    )]
    OtherMeasured(i32),
    #[error("process {pid}: {what}: {source}")]
    Proc { pid: i32, what: &'static str, source: std::io::Error },
    #[error("process {pid}: /proc shows `{what}` in a form that is not understood")]
    Format { pid: i32, what: &'static str },
    #[error("its user's processes have over a million open descriptors, too many to search for a socket; close some")]
    ManyDescriptors,
    #[error("the main thread of process {0} has stopped, and its other threads are not measured: keep the main thread")]
    MainThreadStopped(i32),
    #[error("the kernel does not report the owner of a socket: {0}")]
    Sockets(std::io::Error),
    #[error(
        "the workload's descriptors cannot be read ({0}), so the owner of a TCP connection is unknown: \
         use Unix sockets on this hop, or give the sidecar CAP_SYS_PTRACE"
    )]
    Descriptors(String),
    #[error("process {0} is in another network namespace; looking up its socket there needs CAP_SYS_ADMIN")]
    OtherNetwork(i32),
}

/// One process, held by its pidfd so that a reused number is never taken for it (law L11).
pub struct Process {
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    start_time: u64,
}

impl Process {
    /// Holds the process that has number `pid` now.
    pub fn open(pid: i32) -> Result<Self, HostError> {
        let number = number_of_one(pid).ok_or(HostError::Stopped(pid))?;
        let pidfd = pidfd_open(number, PidfdFlags::NONBLOCK).map_err(|_| HostError::Stopped(pid))?;
        Self::hold(pid, pidfd)
    }

    /// Holds the process behind a pidfd that the kernel gave, for example by SO_PEERPIDFD.
    pub fn hold(pid: i32, pidfd: OwnedFd) -> Result<Self, HostError> {
        let error = |what| move |source| HostError::Proc { pid, what, source };
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; an OwnedFd keeps its descriptor, which is what is asked for"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE).map_err(error("pidfd"))?;
        let mut process = Self { pid, pidfd, start_time: 0 };
        process.start_time = process.read_start_time()?;
        process.check_alive()?;
        Ok(process)
    }

    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// When it started, in clock ticks since boot: with its number, its name for others on this machine.
    pub const fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Fails once the process has stopped. Data that was read from /proc before this succeeds belongs to this process.
    pub fn check_alive(&self) -> Result<(), HostError> {
        let mut polled = [PollFd::from_borrowed_fd(self.pidfd.get_ref().as_fd(), PollFlags::IN)];
        let ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        match ready {
            Ok(0) => match self.read_start_time() {
                Ok(start) if start == self.start_time => Ok(()),
                // Because a descriptor is missing, say, nothing is known of it.
                Err(HostError::Proc { source, pid, what }) if !is_gone(&source) => {
                    Err(HostError::Proc { pid, what, source })
                }
                _ => Err(HostError::Stopped(self.pid)),
            },
            _ => Err(HostError::Stopped(self.pid)),
        }
    }

    /// The user that it runs as now. Reads /proc alone, whose answers do not wait for a disk.
    pub fn owner(&self) -> Result<u32, HostError> {
        let credentials = proc_text::credentials(&self.read("status")?);
        let (uid, ..) = credentials.ok_or(HostError::Format { pid: self.pid, what: "status" })?;
        self.check_alive()?;
        Ok(uid)
    }

    /// Whether `gid` is its effective group or one of its supplementary ones.
    pub fn is_in_group(&self, gid: u32) -> Result<bool, HostError> {
        let credentials = proc_text::credentials(&self.read("status")?);
        let (_, own, groups) = credentials.ok_or(HostError::Format { pid: self.pid, what: "status" })?;
        self.check_alive()?;
        Ok(own == gid || groups.contains(&gid))
    }

    /// Waits until the process ends.
    pub async fn stopped(&self) {
        // An error here means that the pidfd is unusable, which counts as stopped.
        let _ready = self.pidfd.readable().await;
    }

    /// The number of the process that started this one.
    pub fn parent(&self) -> Result<i32, HostError> {
        let parent = self.stat_field(1)?;
        self.check_alive()?;
        Ok(i32::try_from(parent).unwrap_or(0))
    }

    /// Whether the process is in this program's own user namespace. In a namespace of its own a process may choose what
    /// `/proc/<pid>/exe` shows (PR_SET_MM_EXE_FILE asks for a capability in *its* namespace).
    ///
    /// A process never returns from such a namespace: data that was read *before* this succeeds was not forged there.
    /// A namespace that cannot be read counts as another one.
    pub fn is_in_own_user_namespace(&self) -> bool {
        let namespace = |of: &str| {
            let meta = std::fs::metadata(format!("/proc/{of}/ns/user")).ok()?;
            Some((meta.dev(), meta.ino()))
        };
        let own = namespace("self");
        own.is_some() && own == namespace(&self.pid.to_string())
    }

    /// Why `/proc/<pid>/exe` cannot be read. It shows the executable of the first thread: nothing once that thread has
    /// stopped, although the process continues.
    pub(crate) fn without_executable(&self, source: std::io::Error) -> HostError {
        let pid = self.pid;
        let threads = || Some(std::fs::metadata(format!("/proc/{pid}/task")).ok()?.nlink().saturating_sub(2));
        let has_stopped = || Some(self.read("stat").ok()?.rsplit_once(") ")?.1.starts_with(['Z', 'X']));
        if is_gone(&source) && threads().is_some_and(|threads| threads > 1) && has_stopped() == Some(true) {
            return HostError::MainThreadStopped(pid);
        }
        HostError::Proc { pid, what: "exe", source }
    }

    pub(crate) fn read(&self, file: &'static str) -> Result<String, HostError> {
        let read = std::fs::read(format!("/proc/{}/{file}", self.pid));
        let bytes = read.map_err(|source| HostError::Proc { pid: self.pid, what: file, source })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn read_start_time(&self) -> Result<u64, HostError> {
        self.stat_field(19)
    }

    fn stat_field(&self, index: usize) -> Result<u64, HostError> {
        let field = proc_text::stat_field(&self.read("stat")?, index);
        field.ok_or(HostError::Format { pid: self.pid, what: "stat" })
    }
}

/// The user that this program runs as. The owner of `/proc/self` is another one where a process cannot be dumped.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this program may look at any process of its namespace (CAP_SYS_PTRACE): then what it cannot read is suspect.
pub fn traces_others() -> bool {
    const SYS_PTRACE: u64 = 1 << 19;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    proc_text::capabilities(&status).is_some_and(|all| all & SYS_PTRACE != 0)
}

/// What /proc says of a process that is not there any more.
pub(crate) fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The number of one process: zero and negative ones mean groups (kill(2)).
fn number_of_one(pid: i32) -> Option<Pid> {
    if pid > 0 { Pid::from_raw(pid) } else { None }
}

/// Asks a child process to end (SIGTERM); its number, if it was still there.
pub fn signal_terminate(pid: i32) -> Option<i32> {
    let number = number_of_one(pid)?;
    rustix::process::kill_process(number, rustix::process::Signal::TERM).ok().map(|()| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_number_of_a_group_is_refused() {
        let own = std::process::id().cast_signed();
        assert!(Process::open(own).is_ok());
        assert!([0, -1, -own, i32::MIN].into_iter().all(|number| Process::open(number).is_err()));
        assert_eq!(signal_terminate(-own), None);
    }
}
