//! The guard of a workload: a process that has the links as well, and outlives who started it. When that process stops
//! without ending its workload, as after SIGKILL, the guard ends it: no program of it runs on without its rules.

use std::ffi::OsString;
use std::io::{self, PipeWriter, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use sekisho_kernel::{clear, records};

/// Its first argument.
pub(super) const NAME: &str = "guard-of-cgroup";

/// Dropping it lets the guard go.
#[derive(Debug)]
pub(super) struct Guard {
    process: Child,
    /// Closes with us, however we stop.
    held: Option<PipeWriter>,
}

impl Guard {
    pub(super) fn start<'a>(
        cgroup: &Path,
        number: u64,
        links: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> io::Result<Self> {
        let (waits, held) = io::pipe()?;
        // Copies without the flag that closes them in a new program. The guard inherits them, and no other process:
        // nothing else is started before they are closed here.
        let copies = links.map(rustix::io::dup).collect::<Result<Vec<OwnedFd>, _>>()?;
        let process = Command::new("/proc/self/exe")
            .args([NAME.as_ref(), cgroup.as_os_str()])
            .arg(number.to_string())
            .stdin(waits)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals of a terminal are for the workload.
            .process_group(0)
            .spawn()?;
        drop(copies);
        Ok(Self { process, held: Some(held) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.held = None;
        let _status = self.process.wait();
    }
}

/// Waits until the other side of its standard input has closed.
pub(super) fn become_guard(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(cgroup), Some(number)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        return ExitCode::FAILURE;
    };
    let _closed = io::stdin().read_to_end(&mut Vec::new());
    // Who stopped its workload has removed the cgroup.
    if cgroup.exists() {
        clear(&cgroup);
        let number = number.to_str().and_then(|number| number.parse().ok());
        let _removed = number.map(|number| records::remove(Path::new(records::FOLDER), number));
    }
    ExitCode::SUCCESS
}
