use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sekisho_net::{MetricsAddress, listen_address};
use sekisho_runtime::{parse_trust_domain, seconds_in};
use sekisho_types::{SpiffeId, TrustDomain};

/// Configuration of a sidecar. Every flag is also an environment variable and a key of the configuration file.
#[derive(Debug, Clone, Args)]
pub struct ProxyArgs {
    /// Trust domain of the workload
    #[arg(long, env = "SEKISHO_TRUST_DOMAIN", value_parser = parse_trust_domain)]
    pub trust_domain: TrustDomain,
    /// Unix socket of the agent; default: the one that `SPIFFE_ENDPOINT_SOCKET` names, else that of the agent
    /// on this machine
    #[arg(long, env = "SEKISHO_AGENT_SOCKET")]
    pub agent_socket: Option<PathBuf>,
    /// Folder for the last good policy and the spool of decisions
    #[arg(long, env = "SEKISHO_PROXY_DATA")]
    pub data: PathBuf,
    /// Process that this sidecar speaks for; or give its command after `--`
    #[arg(long, env = "SEKISHO_WORKLOAD_PID", conflicts_with = "command")]
    pub workload_pid: Option<i32>,
    /// Identity to speak for, if the workload's entries give it several
    #[arg(long, env = "SEKISHO_SPIFFE_ID", value_parser = parse_spiffe_id)]
    pub spiffe_id: Option<SpiffeId>,
    /// Address for peers (mTLS)
    #[arg(long, env = "SEKISHO_INBOUND", value_parser = listen_address)]
    pub inbound: Option<SocketAddr>,
    /// Where the service listens: `127.0.0.1:8080` or `unix:/path`
    #[arg(long, env = "SEKISHO_UPSTREAM", value_parser = Local::parse)]
    pub upstream: Option<Local>,
    /// What the service speaks; `http1` if absent
    #[arg(long, env = "SEKISHO_PROTOCOL", value_enum)]
    pub protocol: Option<Protocol>,
    /// `LOCAL=HOST:PORT=SPIFFE-ID`: listen on LOCAL for the workload, and connect to that peer. LOCAL is
    /// `unix:/path`, where the kernel names the calling process, or an address, for services that cannot use a
    /// Unix socket
    #[arg(long, env = "SEKISHO_OUTBOUND", value_parser = OutboundSpec::parse, value_delimiter = ',')]
    pub outbound: Vec<OutboundSpec>,
    /// Connections to the service that are open at once, or streams if it speaks HTTP/2. One peer gets half of
    /// them, and up to four times as many of its requests wait. Default: 512 for `http1`, else 4096
    #[arg(long, env = "SEKISHO_UPSTREAM_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub upstream_connections: Option<u32>,
    /// Time without any data, in either direction, after which a request is closed
    #[arg(long = "body-idle", env = "SEKISHO_BODY_IDLE", default_value = "5m")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(1..))]
    pub body_idle_seconds: u32,
    /// Size limit of the spool of decisions, in bytes
    #[arg(long, env = "SEKISHO_SPOOL_BYTES", default_value_t = 64 * 1024 * 1024)]
    pub spool_bytes: usize,
    /// TOML file whose keys are the names of these flags; flags and environment variables take precedence
    #[arg(long, env = "SEKISHO_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Threads that serve requests; one is enough for most services
    #[arg(long, env = "SEKISHO_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Where metrics are served: `127.0.0.1:9464` or `unix:/path`; default: `metrics.sock` in the data folder
    #[arg(long, env = "SEKISHO_METRICS", value_parser = MetricsAddress::parse)]
    pub metrics: Option<MetricsAddress>,
    /// OTLP collector (gRPC) of this machine for traces, for example `http://127.0.0.1:4317`
    #[arg(long, env = "SEKISHO_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Log filter, in the form of RUST_LOG
    #[arg(long, env = "SEKISHO_LOG", default_value = "info")]
    pub log: String,
    /// Command of the workload, which runs as a child of this sidecar
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// What a service speaks behind its sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Http1,
    /// HTTP/2 without TLS, as gRPC servers speak it
    H2c,
    /// Bytes: one decision for each connection
    Tcp,
}

/// An address on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Local {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let address: SocketAddr =
            text.parse().map_err(|_| format!("`{text}` is neither `address:port` nor `unix:/path`"))?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(format!("`{text}` is not on this machine; the local hop has no TLS"))
        }
    }
}

impl std::fmt::Display for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One peer that the workload may dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundSpec {
    pub listen: Local,
    /// `host:port` of the peer's sidecar.
    pub peer: String,
    /// Who the peer must be.
    pub expected: SpiffeId,
}

impl OutboundSpec {
    fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not `LOCAL=HOST:PORT=SPIFFE-ID`");
        let (listen, rest) = text.split_once('=').ok_or_else(form)?;
        let (peer, id) = rest.split_once('=').ok_or_else(form)?;
        if !peer.contains(':') {
            return Err(form());
        }
        let expected = SpiffeId::parse_workload(id).map_err(|e| format!("`{id}`: {e}"))?;
        Ok(Self { listen: Local::parse(listen)?, peer: peer.to_owned(), expected })
    }
}

fn parse_spiffe_id(text: &str) -> Result<SpiffeId, String> {
    SpiffeId::parse_workload(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_on_another_machine_is_refused() {
        assert!(Local::parse("10.0.0.1:80").is_err());
        assert!(Local::parse("127.0.0.1:80").is_ok());
    }
}
