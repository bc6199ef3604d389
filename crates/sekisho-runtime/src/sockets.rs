//! Where the server and the agent of this machine listen: one search order for every verb and every daemon.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sekisho_types::unix_endpoint;

/// The server's socket for operators: `given`, else the first place of `server_socket_paths` where something answers.
pub fn server_socket(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| choose(server_socket_paths()), Path::to_owned)
}

/// The agent's socket: `given`, else the one that `SPIFFE_ENDPOINT_SOCKET` names, else the first place of
/// `agent_socket_paths` where
/// something answers.
pub fn agent_socket(given: Option<&Path>) -> PathBuf {
    let endpoint =
        || std::env::var("SPIFFE_ENDPOINT_SOCKET").ok().and_then(|text| unix_endpoint(&text).map(PathBuf::from));
    given.map(Path::to_owned).or_else(endpoint).unwrap_or_else(|| choose(agent_socket_paths()))
}

/// An installed server, which is also one with default settings; and that of `sekisho dev`.
pub fn server_socket_paths() -> Vec<PathBuf> {
    vec!["/var/lib/sekisho/server/api.sock".into(), dev_folder().join("server/api.sock")]
}

/// An installed agent, one with default settings, and that of `sekisho dev`.
pub fn agent_socket_paths() -> Vec<PathBuf> {
    let dev = dev_folder().join("agent/agent.sock");
    vec!["/run/sekisho-agent/agent.sock".into(), "/var/lib/sekisho/agent/agent.sock".into(), dev]
}

/// Where `sekisho dev` keeps its state unless a folder is given.
pub fn dev_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).unwrap_or_else(|| PathBuf::from("/tmp")).join("sekisho/dev")
}

/// The first place that accepts a connection. If none does: the first socket that is there, then one that is closed
/// to this user, then
/// the first place.
fn choose(places: Vec<PathBuf>) -> PathBuf {
    let rank = |place: &PathBuf| match UnixStream::connect(place) {
        Ok(_) => 0,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => 1,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => 2,
        Err(_) => 3,
    };
    places.into_iter().min_by_key(rank).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_answers_comes_first() {
        let folder = std::env::temp_dir().join(format!("sekisho-sockets-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = |name: &str| folder.join(name);
        drop(UnixListener::bind(place("dead")).unwrap());
        let chosen = || choose(vec![place("none"), place("dead"), place("live")]);
        assert_eq!(chosen(), place("dead"));
        let _listener = UnixListener::bind(place("live")).unwrap();
        assert_eq!(chosen(), place("live"));
        assert_eq!(choose(vec![place("none"), place("other")]), place("none"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
