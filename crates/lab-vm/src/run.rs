//! Runs a program to its end.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// What it printed.
///
/// # Errors
/// It did not start, or it failed: with its name and what it wrote.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = output(command)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let (printed, written) = (text(&output.stdout), text(&output.stderr));
    Err(format!("{} {}: {}: {printed}{written}", name(command), arguments.join(" "), output.status))
}

/// Its exit status and what it printed.
///
/// # Errors
/// It did not start.
pub fn output(command: &mut Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).output().map_err(|error| format!("{} cannot be started: {error}", name(command)))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Says which file an error is about.
pub fn at<T>(path: &std::path::Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}
