//! Options that several verbs share: the output format, and the sockets of server and agent. A verb has only those that
//! it uses.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::output::Format;

#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// Output format on stdout
    #[arg(short, long, global = true, env = "SEKISHO_OUTPUT", value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerSocket {
    /// Unix socket of the server; default: that of the server on this machine, or of `sekisho dev`
    #[arg(long, global = true, env = "SEKISHO_SERVER_SOCKET", value_hint = clap::ValueHint::FilePath)]
    pub server_socket: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AgentSocket {
    /// Unix socket of the agent; default: the one that `SPIFFE_ENDPOINT_SOCKET` names, else that of the agent
    /// on this machine, or of `sekisho dev`
    #[arg(long, global = true, env = "SEKISHO_AGENT_SOCKET", value_hint = clap::ValueHint::FilePath)]
    pub agent_socket: Option<PathBuf>,
}

/// Of a verb that asks the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOptions {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    server: ServerSocket,
}

/// Of a verb that asks the agent.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    agent: AgentSocket,
}

/// Of a verb that asks either.
#[derive(Debug, Clone, Args)]
pub(crate) struct SocketOptions {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    server: ServerSocket,
    #[command(flatten)]
    agent: AgentSocket,
}

/// A noun whose verbs have these options in common.
#[derive(Debug, Args)]
pub(crate) struct Noun<G: Args, V: Subcommand> {
    #[command(flatten)]
    pub asks: G,
    #[command(subcommand)]
    pub verb: V,
}

/// A verb with its own options and these.
#[derive(Debug, Args)]
pub(crate) struct With<G: Args, A: Args> {
    #[command(flatten)]
    pub own: A,
    #[command(flatten)]
    pub asks: G,
}

/// What was given of these options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Global {
    pub output: Format,
    pub server_socket: Option<PathBuf>,
    pub agent_socket: Option<PathBuf>,
}

impl Global {
    pub(crate) fn server_socket(&self) -> PathBuf {
        sekisho_runtime::server_socket(self.server_socket.as_deref())
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        sekisho_runtime::agent_socket(self.agent_socket.as_deref())
    }
}

impl From<Output> for Global {
    fn from(Output { output }: Output) -> Self {
        Self { output, ..Self::default() }
    }
}

impl From<ServerOptions> for Global {
    fn from(ServerOptions { output, server }: ServerOptions) -> Self {
        Self { server_socket: server.server_socket, ..output.into() }
    }
}

impl From<AgentOptions> for Global {
    fn from(AgentOptions { output, agent }: AgentOptions) -> Self {
        Self { agent_socket: agent.agent_socket, ..output.into() }
    }
}

impl From<SocketOptions> for Global {
    fn from(SocketOptions { output, server, agent }: SocketOptions) -> Self {
        Self { server_socket: server.server_socket, agent_socket: agent.agent_socket, ..output.into() }
    }
}
