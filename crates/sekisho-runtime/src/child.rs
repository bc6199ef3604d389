//! Children that end with us and get nothing of ours but the three standard streams. A child has to ask for both
//! itself, so that this executable starts in its place, asks, and becomes the program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// This executable, even if its file was replaced since.
const OURS: &str = "/proc/self/exe";
/// Its first argument in a child's place.
const IN_PLACE: &str = "in-place-of";
/// What a shell answers when a program cannot be run.
pub const NOT_RUN: i32 = 127;

/// How a child ends when we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnParentExit {
    /// It may finish first (SIGTERM).
    Asked,
    /// At once (SIGKILL).
    Killed,
}

/// A command for `program`, whose arguments follow. Needs `become_child` at the start of this executable's `main`.
///
/// The kernel ends it with the thread that starts it: start it from one that lasts as long as the process.
pub fn supervised_command(program: impl AsRef<OsStr>, ends: OnParentExit) -> Command {
    let mut command = Command::new(OURS);
    let how = if ends == OnParentExit::Asked { "asked" } else { "killed" };
    command.arg(IN_PLACE).arg(getpid().as_raw_nonzero().to_string()).arg(how).arg(program);
    command
}

/// Becomes the program if this executable was started in a child's place. Returns why it cannot; `None` if it was
/// started otherwise.
pub fn become_child(mut arguments: impl Iterator<Item = OsString>) -> Option<io::Error> {
    if arguments.nth(1)? != IN_PLACE {
        return None;
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let parent = arguments.next().and_then(|text| Pid::from_raw(text.to_str()?.parse().ok().filter(|&pid| pid > 0)?));
    let signal = match arguments.next() {
        Some(how) if how == "asked" => Signal::TERM,
        Some(how) if how == "killed" => Signal::KILL,
        _ => return Some(invalid()),
    };
    let Some(program) = arguments.next() else { return Some(invalid()) };
    if let Err(error) = set_parent_process_death_signal(Some(signal)) {
        return Some(error.into());
    }
    // It may have stopped before the kernel was asked.
    if parent.is_none() || getppid() != parent {
        return Some(io::Error::other("its parent has stopped"));
    }
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    let mut command = Command::new(&program);
    crate::loader::give_back(&mut command);
    let error = command.args(arguments).exec();
    Some(io::Error::new(error.kind(), format!("`{}`: {error}", program.display())))
}

/// Whether a child is the program already, and not this executable in its place.
pub fn runs_its_program(pid: i32) -> bool {
    // It is empty while the kernel replaces one by the other.
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    !command.is_empty() && !command.starts_with(format!("{OURS}\0{IN_PLACE}\0").as_bytes())
}
