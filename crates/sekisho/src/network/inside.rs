//! The place of a workload: this executable, once more, moves into the cgroup and becomes the program. So the program
//! is inside before its first instruction.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sekisho_runtime::{OnParentExit, supervised_command};

/// Its first argument.
pub(super) const NAME: &str = "inside-of-cgroup";

/// A command for `program` inside a cgroup. It stops at once when we do: what it started is stopped by its guard.
pub(super) fn command(cgroup: &Path, program: &str) -> Command {
    let mut command = supervised_command("/proc/self/exe", OnParentExit::Killed);
    command.arg(NAME).arg(cgroup).arg(program);
    command
}

/// Returns why it cannot.
pub(super) fn become_workload(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let (Some(cgroup), Some(program)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        return io::ErrorKind::InvalidInput.into();
    };
    if let Err(error) = sekisho_kernel::enter(&cgroup) {
        return io::Error::new(error.kind(), format!("it cannot enter {}: {error}", cgroup.display()));
    }
    let error = Command::new(&program).args(arguments).exec();
    io::Error::new(error.kind(), format!("`{}`: {error}", program.display()))
}
