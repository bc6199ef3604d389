//! Servers for tests, and command lines that ask them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sekisho");

/// Server processes, which stop with the test.
pub(crate) struct Servers(pub Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _gone = child.kill();
            let _status = child.wait();
        }
    }
}

/// A command line in a folder, without variables of the caller and with those at its beginning (`NAME=value`).
pub(crate) fn command(folder: &Path, line: &str) -> Command {
    let mut words: Vec<&str> = line.split(' ').collect();
    let first = words.iter().position(|word| !word.contains('=')).unwrap_or_default();
    let variables: Vec<&str> = words.drain(..first).collect();
    let program = words.remove(0);
    // Another user, who may run a copy of the program.
    let mut command = match program {
        "other:sekisho" => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(folder.join("bin/sekisho"));
            command
        }
        _ => Command::new(PROGRAM),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEKISHO_") || name == "SPIFFE_ENDPOINT_SOCKET" {
            command.env_remove(name);
        }
    }
    command.args(words).current_dir(folder).stdin(Stdio::null());
    command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    command.env("XDG_STATE_HOME", folder.join("state")).env("COLUMNS", "100");
    command
}

/// A server that is ready.
pub(crate) fn server(folder: &Path, arguments: &str) -> Child {
    let mut server = command(folder, &format!("sekisho server --listen 127.0.0.1:0 --log off {arguments}"));
    let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "), "{line}");
    child
}
