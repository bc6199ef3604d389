//! The options of every verb: the form of its answer, and where server and agent listen.

use std::path::PathBuf;

use clap::Args;

use crate::output::Format;

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Form of what is printed on stdout
    #[arg(short, long, global = true, env = "SEKISHO_OUTPUT", value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Unix socket of the server's API
    #[arg(long, global = true, env = "SEKISHO_SERVER_API")]
    pub server_socket: Option<PathBuf>,
    /// Unix socket of the agent, for verbs that ask it
    #[arg(long = "agent", global = true, env = "SEKISHO_AGENT")]
    pub agent: Option<PathBuf>,
}

impl Global {
    /// The server's socket: as given, an installed server's, or that of `sekisho dev`.
    pub(crate) fn server_socket(&self) -> PathBuf {
        choose(&self.server_socket, "/var/lib/sekisho/server/api.sock", "server/api.sock")
    }

    /// The agent's socket, likewise; `SPIFFE_ENDPOINT_SOCKET` is respected.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        let endpoint = std::env::var("SPIFFE_ENDPOINT_SOCKET").ok();
        let endpoint = endpoint
            .and_then(|text| text.strip_prefix("unix:").map(|path| PathBuf::from(path.trim_start_matches("//"))));
        choose(&self.agent.clone().or(endpoint), "/run/sekisho-agent/agent.sock", "agent/agent.sock")
    }
}

fn choose(given: &Option<PathBuf>, installed: &str, in_dev: &str) -> PathBuf {
    let installed = PathBuf::from(installed);
    match given {
        Some(path) => path.clone(),
        None if installed.exists() => installed,
        None => dev_folder().join(in_dev),
    }
}

/// Where `dev` keeps its state unless `--folder` is given.
pub(crate) fn dev_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).unwrap_or_else(|| PathBuf::from("/tmp")).join("sekisho/dev")
}
