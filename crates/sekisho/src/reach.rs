//! Why a socket cannot be reached: whose it is, and what to type next.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    Server,
    Agent,
}

impl Daemon {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }

    /// Where its socket is looked for when none is given.
    fn places(self) -> Vec<PathBuf> {
        match self {
            Self::Server => sekisho_runtime::server_socket_paths(),
            Self::Agent => sekisho_runtime::agent_socket_paths(),
        }
    }
}

/// What is the matter with a socket that gave this error.
pub(crate) fn unreachable(daemon: Daemon, socket: &Path, error: &std::io::Error) -> Failure {
    let (name, at) = (daemon.name(), socket.display());
    let start = match daemon {
        Daemon::Server => "start one with `sekisho server` or `sekisho dev`",
        Daemon::Agent => "start one with `sekisho agent` or `sekisho dev`",
    };
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(Exit::Unauthorised, closed(socket)),
        ErrorKind::NotFound => {
            let places = daemon.places();
            let others: Vec<String> =
                places.iter().filter(|place| *place != socket).map(|place| place.display().to_string()).collect();
            let looked = match places.iter().any(|place| place == socket) {
                true => format!("; nor is one at {}", others.join(" or ")),
                false => String::new(),
            };
            let text = format!(
                "no {name} runs here: {at} does not exist{looked}; {start}, or name its socket with `--{name}-socket`"
            );
            Failure::new(Exit::Unreachable, text)
        }
        ErrorKind::ConnectionRefused if is_socket(socket) => {
            Failure::new(Exit::Unreachable, format!("the {name} of {at} does not run any more; {start}"))
        }
        ErrorKind::ConnectionRefused => Failure::new(
            Exit::Usage,
            format!("{at} is not a socket; name the one of the {name} with `--{name}-socket`"),
        ),
        _ => Failure::new(Exit::Unreachable, format!("no {name} answers at {at}: {error}; {start}")),
    }
}

/// A call to the agent that did not succeed.
pub(crate) fn status(socket: &Path, status: &tonic::Status) -> Failure {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown => match UnixStream::connect(socket) {
            Err(error) => unreachable(Daemon::Agent, socket, &error),
            Ok(_) => {
                let text = format!("the agent at {} does not answer: {}", socket.display(), status.message());
                Failure::new(Exit::Unreachable, text)
            }
        },
        tonic::Code::PermissionDenied => Failure::new(Exit::Unauthorised, status.message()),
        _ => Failure::failed(status.message()),
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// A file or folder that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(Exit::Unauthorised, closed(path)),
        ErrorKind::NotFound => Failure::failed(format!("{} does not exist", path.display())),
        _ => Failure::failed(format!("{}: {error}", path.display())),
    }
}

/// Who may use a file that this user may not, and how.
pub(crate) fn closed(path: &Path) -> String {
    // The folder that may not be entered, or the file itself.
    let blocks = path
        .ancestors()
        .skip(1)
        .filter(|folder| std::fs::metadata(folder).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied));
    let closed = blocks.last().and_then(Path::parent).unwrap_or_else(|| match std::fs::metadata(path) {
        Err(_) => path.parent().unwrap_or(path),
        Ok(_) => path,
    });
    let (shown, own) = (path.display(), rustix::process::geteuid().as_raw());
    let Ok(meta) = std::fs::metadata(closed) else {
        return format!("permission denied: {shown} is closed to user {}", user(own));
    };
    let (owner, group, mode) = (user(meta.uid()), named("/etc/group", meta.gid()), meta.mode() & 0o777);
    let command = match meta.uid() {
        0 => format!("sudo {}", this_command()),
        _ => format!("sudo -u {owner} {}", this_command()),
    };
    format!(
        "permission denied: {} belongs to user {owner} and group {group} (mode {mode:04o}), and you are {}; as its \
            owner: `{command}`",
        closed.display(),
        user(own)
    )
}

fn user(id: u32) -> String {
    named("/etc/passwd", id)
}

/// The name of a user or group, or its number.
fn named(file: &str, id: u32) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    name_in(&text, id).unwrap_or_else(|| id.to_string())
}

fn name_in(text: &str, id: u32) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

/// What was typed, for a shell behind `sudo`, which passes no variable of ours on.
fn this_command() -> String {
    let mut words = std::env::args();
    // The name is enough where a shell finds it.
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().filter(|name| *name == "sekisho").map_or(program.clone(), str::to_owned);
    with_variables(std::env::vars_os(), std::iter::once(program).chain(words.map(|word| quoted(&word))))
}

fn with_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
    words: impl Iterator<Item = String>,
) -> String {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let ours = |name: &str| name.starts_with("SEKISHO_") || name == "SPIFFE_ENDPOINT_SOCKET";
    let mut set: Vec<String> = variables
        .filter_map(text)
        .filter(|(name, _)| ours(name))
        .map(|(name, value)| format!("{name}={}", quoted(&value)))
        .collect();
    set.sort();
    if !set.is_empty() {
        set.insert(0, "env".to_owned());
    }
    set.into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_words_quoted() {
        let users = "root:x:0:0:root:/root:/bin/bash\nsekisho:x:998:998::/:/usr/sbin/nologin\n";
        assert_eq!((name_in(users, 998), name_in(users, 5)), (Some("sekisho".into()), None));
        assert_eq!(
            (quoted("--effect=deny"), quoted("it's $HOME")),
            ("--effect=deny".into(), "'it'\\''s $HOME'".into())
        );
    }

    #[test]
    fn sudo_keeps_our_variables() {
        let variables = [("SEKISHO_SERVER_SOCKET", "/a b"), ("HOME", "/root"), ("SPIFFE_ENDPOINT_SOCKET", "unix:///s")];
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let words = || ["sekisho", "entries"].into_iter().map(str::to_owned);
        assert_eq!(
            with_variables(variables, words()),
            "env SEKISHO_SERVER_SOCKET='/a b' SPIFFE_ENDPOINT_SOCKET=unix:///s sekisho entries"
        );
        assert_eq!(with_variables(std::iter::empty(), words()), "sekisho entries");
    }

    #[test]
    fn a_wrong_socket_is_explained() {
        let error = |kind: ErrorKind| std::io::Error::from(kind);
        let text = |path: &Path, kind| unreachable(Daemon::Agent, path, &error(kind)).to_string();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(text(file.path(), ErrorKind::ConnectionRefused).contains("is not a socket"));
        let known = &sekisho_runtime::agent_socket_paths()[0];
        assert!(text(known, ErrorKind::NotFound).contains("nor is one at /var/lib/sekisho/agent/agent.sock or "));
        assert!(!text(Path::new("/given"), ErrorKind::NotFound).contains("nor is"));
    }
}
