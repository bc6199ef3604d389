use std::path::PathBuf;

use clap::Args;
use sekisho_net::{MetricsAddress, host_and_port};
use sekisho_runtime::parse_trust_domain;
use sekisho_types::{Digest, TrustDomain};

use crate::proofs::ProofArgs;

/// Configuration of an agent. Every flag is also an environment variable and a key of the configuration file.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// Trust domain of the server
    #[arg(long, env = "SEKISHO_TRUST_DOMAIN", value_parser = parse_trust_domain)]
    pub trust_domain: TrustDomain,
    /// Address of the server, `host:port`
    #[arg(long, env = "SEKISHO_SERVER", default_value = "127.0.0.1:8081", value_parser = host_and_port)]
    pub server: String,
    /// Folder for the agent's key, sealed cache and spool
    #[arg(long, env = "SEKISHO_AGENT_DATA", default_value = "/var/lib/sekisho/agent")]
    pub data: PathBuf,
    /// Unix socket of the Workload API; default: `agent.sock` in the data folder
    #[arg(long = "agent-socket", env = "SEKISHO_AGENT_SOCKET")]
    pub socket: Option<PathBuf>,
    /// File with the server's trust bundle (PEM), for the first contact
    #[arg(long, env = "SEKISHO_TRUST_BUNDLE", conflicts_with = "fingerprint")]
    pub trust_bundle: Option<PathBuf>,
    /// SHA-256 of the server's authority certificates, for the first contact; one of them must sign. Repeat the
    /// flag, or separate them by commas or blanks (`sekisho bundle show --form fingerprint`)
    #[arg(long, env = "SEKISHO_FINGERPRINT", value_parser = parse_digests)]
    pub fingerprint: Vec<Fingerprints>,
    #[command(flatten)]
    pub proofs: ProofArgs,
    /// SHA-256 of an executable that may act as a sidecar; the executable of this agent always may
    #[arg(long, env = "SEKISHO_SIDECAR_SHA256", value_parser = parse_digest, value_delimiter = ',')]
    pub sidecar_sha256: Vec<Digest>,
    /// Also serve connections that stay open across exec: a program that ran earlier in the process may still
    /// read them
    #[arg(long, env = "SEKISHO_DANGER_INHERITABLE_SOCKETS")]
    pub danger_inheritable_sockets: bool,
    /// Size limit of the spool of records that wait for the server, in bytes
    #[arg(long, env = "SEKISHO_SPOOL_BYTES", default_value_t = 64 * 1024 * 1024)]
    pub spool_bytes: usize,
    /// Threads that serve requests; measuring processes and reading files use other threads
    #[arg(long, env = "SEKISHO_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// TOML file whose keys are the names of these flags; flags and environment variables take precedence
    #[arg(long, env = "SEKISHO_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where metrics are served: `127.0.0.1:9463` or `unix:/path`; default: `metrics.sock` in the data folder
    #[arg(long, env = "SEKISHO_METRICS", value_parser = MetricsAddress::parse)]
    pub metrics: Option<MetricsAddress>,
    /// OTLP collector (gRPC) of this machine for traces, for example `http://127.0.0.1:4317`
    #[arg(long, env = "SEKISHO_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Log filter, in the form of RUST_LOG
    #[arg(long, env = "SEKISHO_LOG", default_value = "info")]
    pub log: String,
}

impl AgentArgs {
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data.join("agent.sock"))
    }
}

/// One or more fingerprints, as a command prints them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprints(pub Vec<Digest>);

fn parse_digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).map_err(|e| e.to_string())
}

fn parse_digests(text: &str) -> Result<Fingerprints, String> {
    let parts = text.split([',', ' ', '\n', '\t', '\r']).filter(|part| !part.is_empty());
    let digests: Vec<_> = parts.map(parse_digest).collect::<Result<_, _>>()?;
    if digests.is_empty() { Err("no fingerprint".into()) } else { Ok(Fingerprints(digests)) }
}
