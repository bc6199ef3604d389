//! Settings of a server: those of each trust domain, and those of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use sekisho_types::TrustDomain;

use crate::anchors::AnchorArgs;

/// Settings of a trust domain.
#[derive(Debug, Clone, Args)]
pub struct DomainArgs {
    /// Trust domain that this server is the authority of, for example `prod.internal`
    #[arg(long, env = "SEKISHO_TRUST_DOMAIN", value_parser = parse_trust_domain)]
    pub trust_domain: TrustDomain,
    /// Folder for keys, state and ledger
    #[arg(long, env = "SEKISHO_SERVER_DATA", default_value = "/var/lib/sekisho/server")]
    pub data: PathBuf,
    /// Unix socket for operators on this machine; default: `api.sock` in the data folder
    #[arg(long, env = "SEKISHO_SERVER_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Folder with Rego files; each change becomes a policy revision
    #[arg(long, env = "SEKISHO_POLICY_FOLDER")]
    pub policy_folder: Option<PathBuf>,
    #[command(flatten)]
    pub anchors: AnchorArgs,
    /// Life of an authority, in seconds (60 to 31536000)
    #[arg(long, env = "SEKISHO_CA_TTL", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(60..=31_536_000))]
    pub ca_ttl_seconds: u32,
    /// Default life of an X.509-SVID, in seconds (at most 86400)
    #[arg(long, env = "SEKISHO_X509_TTL", default_value_t = 900, value_parser = clap::value_parser!(u32).range(20..=86_400))]
    pub x509_ttl_seconds: u32,
    /// Default life of a JWT-SVID, in seconds (at most 300)
    #[arg(long, env = "SEKISHO_JWT_TTL", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=300))]
    pub jwt_ttl_seconds: u32,
    /// Life of an agent's SVID, in seconds; an agent renews it at half life, so it outlives a server that is away for a
    /// third of this
    #[arg(long, env = "SEKISHO_AGENT_TTL", default_value_t = 14_400, value_parser = clap::value_parser!(u32).range(20..=86_400))]
    pub agent_ttl_seconds: u32,
    /// Start although the log is older than the database remembers; say so in the log
    #[arg(long, env = "SEKISHO_DANGER_ACCEPT_OLDER_LOG")]
    pub danger_accept_older_log: bool,
    /// Start although the log speaks of a later state than the database holds; say so in the log, and void open tokens
    #[arg(long, env = "SEKISHO_DANGER_ACCEPT_OLDER_STATE")]
    pub danger_accept_older_state: bool,
    /// Let anyone who reaches the listener read the log (c2sp.org/tlog-tiles): leaves and commitments, never what opens them
    #[arg(long, env = "SEKISHO_PUBLISH_LOG")]
    pub publish_log: bool,
    /// Policy (c2sp.org/tlog-policy) with the witnesses, and their URLs, that cosign the log
    #[arg(long, env = "SEKISHO_WITNESS_POLICY")]
    pub witness_policy: Option<PathBuf>,
    /// PEM file with the authorities of witnesses' HTTPS
    #[arg(long, env = "SEKISHO_WITNESS_CA", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    pub witness_ca: PathBuf,
    /// Bytes of decisions kept, packed (at least 64 MiB); the oldest are deleted first; their leaves stay in the log
    #[arg(long, env = "SEKISHO_KEEP_DECISIONS_BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(64 << 20..))]
    pub keep_decisions_bytes: u64,
    /// Days for which decisions are kept
    #[arg(long, env = "SEKISHO_KEEP_DECISIONS_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_decisions_days: u32,
    /// Days after which agents whose SVID has expired, and expired entries, are deleted; banned agents stay
    #[arg(long, env = "SEKISHO_KEEP_ENDED_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_ended_days: u32,
    /// Days after which the openings of commitments in leaves are erased; never, if absent. Proofs stay valid
    #[arg(long, env = "SEKISHO_KEEP_OPENINGS_DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_openings_days: Option<u32>,
    /// Bundles of 256 log entries that are read again each second to find damage on disk; 0: none
    #[arg(long, env = "SEKISHO_SCRUB_BUNDLES_PER_SECOND", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub scrub_bundles_per_second: u32,
}

/// Configuration of a server. Every flag is also an environment variable and a key of the configuration file.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub own: DomainArgs,
    /// Address for agents and remote operators (TLS 1.3); port 0 chooses a free one
    #[arg(long, env = "SEKISHO_SERVER_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Threads that serve requests; default: one for each core
    #[arg(long, env = "SEKISHO_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// TOML file whose keys are these flags' names; flags and environment variables take precedence
    #[arg(long, env = "SEKISHO_SERVER_CONFIG")]
    pub config: Option<PathBuf>,
    /// OTLP collector (gRPC) of this machine for traces, for example `http://127.0.0.1:4317`
    #[arg(long, env = "SEKISHO_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Log filter, in the form of RUST_LOG
    #[arg(long, env = "SEKISHO_LOG", default_value = "info")]
    pub log: String,
}

impl DomainArgs {
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data.join("api.sock"))
    }
}

fn parse_trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|e| e.to_string())
}
