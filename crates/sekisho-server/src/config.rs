//! Settings of a server: those of each trust domain, and those of the program.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use sekisho_net::{MetricsAddress, listen_address};
use sekisho_runtime::{parse_trust_domain, seconds_in, whole_days};
use sekisho_types::TrustDomain;

use crate::anchors::AnchorArgs;
use crate::error::ServerError;

/// Settings of one trust domain. In the configuration file of a server of several, each further trust domain is
/// a table `[[domain]]` with these keys.
#[derive(Debug, Clone, Args)]
pub struct DomainArgs {
    /// Trust domain that this server is the authority of, for example `prod.internal`
    #[arg(long, env = "SEKISHO_TRUST_DOMAIN", value_parser = parse_trust_domain)]
    pub trust_domain: TrustDomain,
    /// Folder for keys, state and ledger
    #[arg(long, env = "SEKISHO_SERVER_DATA", default_value = "/var/lib/sekisho/server")]
    pub data: PathBuf,
    /// Unix socket for operators on this machine; default: `api.sock` in the data folder
    #[arg(long = "server-socket", env = "SEKISHO_SERVER_SOCKET")]
    pub socket: Option<PathBuf>,
    /// More names by which clients ask for this trust domain (TLS server name, SNI), for example the host in
    /// the `server_address` of its SPIRE agents. Only a server of several trust domains needs them; the name of
    /// the trust domain always works
    #[arg(long = "server-name", env = "SEKISHO_SERVER_NAMES", value_delimiter = ',')]
    pub server_names: Vec<String>,
    /// Folder with Rego files; each change becomes a policy revision
    #[arg(long, env = "SEKISHO_POLICY_FOLDER")]
    pub policy_folder: Option<PathBuf>,
    #[command(flatten)]
    pub anchors: AnchorArgs,
    /// Lifetime of an authority (`1m` to `365d`)
    #[arg(long = "ca-ttl", env = "SEKISHO_CA_TTL", default_value = "24h")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(60..=31_536_000))]
    pub ca_ttl_seconds: u32,
    /// Default lifetime of an X.509-SVID (`20s` to `24h`)
    #[arg(long = "x509-ttl", env = "SEKISHO_X509_TTL", default_value = "15m")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(20..=86_400))]
    pub x509_ttl_seconds: u32,
    /// Default lifetime of a JWT-SVID (`10s` to `5m`)
    #[arg(long = "jwt-ttl", env = "SEKISHO_JWT_TTL", default_value = "5m")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(10..=300))]
    pub jwt_ttl_seconds: u32,
    /// Lifetime of an agent's SVID (`20s` to `24h`). An agent renews it at half its lifetime, so its SVID stays
    /// valid while the server is away for up to a third of it
    #[arg(long = "agent-ttl", env = "SEKISHO_AGENT_TTL", default_value = "4h")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(20..=86_400))]
    pub agent_ttl_seconds: u32,
    /// How often a node with a TPM shows its state again, without a new SVID (`10s` to `24h`). A node whose state is
    /// refused is withdrawn; one that shows none for three intervals and a minute gets no identities until it does
    #[arg(long = "attest-every", env = "SEKISHO_ATTEST_EVERY", default_value = "5m")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(10..=86_400))]
    pub attest_every_seconds: u32,
    /// Let operators allow single TPMs that no authority of `--tpm-ca` vouches for. They wait on the list of
    /// `sekisho tpm list`
    #[arg(long, env = "SEKISHO_TPM_APPROVAL")]
    pub tpm_approval: bool,
    /// Boot policy (JSON): a node with a TPM is admitted only if it booted one of its images, and only as long as the
    /// image's time lasts. It is read when the server starts; `sekisho boot check` checks it
    #[arg(long, env = "SEKISHO_BOOT_POLICY", value_name = "FILE")]
    pub boot_policy: Option<PathBuf>,
    /// Start although the log is older than the database; this is recorded in the log
    #[arg(long, env = "SEKISHO_DANGER_ACCEPT_OLDER_LOG")]
    pub danger_accept_older_log: bool,
    /// Start although the database is older than the log; this is recorded in the log, and unused tokens become
    /// invalid
    #[arg(long, env = "SEKISHO_DANGER_ACCEPT_OLDER_STATE")]
    pub danger_accept_older_state: bool,
    /// Let anyone who can reach the listener read the log (c2sp.org/tlog-tiles): leaves and commitments, but
    /// never the openings of commitments
    #[arg(long, env = "SEKISHO_PUBLISH_LOG")]
    pub publish_log: bool,
    /// File (c2sp.org/tlog-policy) with the witnesses, and their URLs, that cosign the log
    #[arg(long = "witnesses", env = "SEKISHO_WITNESSES")]
    pub witness_policy: Option<PathBuf>,
    /// PEM file with the authorities that sign the HTTPS certificates of witnesses
    #[arg(long, env = "SEKISHO_WITNESS_CA", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    pub witness_ca: PathBuf,
    #[command(flatten)]
    pub webhook: WebhookArgs,
    /// Bytes of compressed decisions that are kept (at least 64 MiB). The oldest are deleted first; their
    /// leaves stay in the log
    #[arg(long, env = "SEKISHO_KEEP_DECISIONS_BYTES", default_value_t = 1 << 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(64 << 20..))]
    pub keep_decisions_bytes: u64,
    /// How long decisions are kept, in whole days
    #[arg(long = "keep-decisions", env = "SEKISHO_KEEP_DECISIONS", default_value = "90d")]
    #[arg(value_name = "DURATION", value_parser = whole_days)]
    pub keep_decisions_days: u32,
    /// How long agents with an expired SVID and expired entries are kept, in whole days; banned agents are
    /// always kept
    #[arg(long = "keep-expired", env = "SEKISHO_KEEP_EXPIRED", default_value = "30d")]
    #[arg(value_name = "DURATION", value_parser = whole_days)]
    pub keep_ended_days: u32,
    /// How long the openings of commitments in leaves are kept, in whole days; without this flag, permanently.
    /// Proofs stay valid
    #[arg(long = "keep-openings", env = "SEKISHO_KEEP_OPENINGS", value_name = "DURATION", value_parser = whole_days)]
    pub keep_openings_days: Option<u32>,
    /// Bundles of 256 leaves that are checked for damage on disk each second; 0 checks none
    #[arg(long, env = "SEKISHO_SCRUB_BUNDLES_PER_SECOND", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub scrub_bundles_per_second: u32,
}

/// Where alerts are sent.
#[derive(Debug, Clone, Default, Args)]
pub struct WebhookArgs {
    /// URL to which each alert is posted as JSON until it is accepted: `https://host[:port][/path]`, or `http://` on
    /// this machine
    #[arg(long, env = "SEKISHO_ALERT_WEBHOOK", value_name = "URL")]
    pub alert_webhook: Option<String>,
    /// File with the token that the webhook expects, as a bearer token
    #[arg(long, env = "SEKISHO_ALERT_WEBHOOK_TOKEN_FILE", value_name = "FILE", requires = "alert_webhook")]
    pub alert_webhook_token_file: Option<PathBuf>,
    /// PEM file with the authorities that sign its HTTPS certificate
    #[arg(long, env = "SEKISHO_ALERT_WEBHOOK_CA", value_name = "FILE")]
    #[arg(default_value = "/etc/ssl/certs/ca-certificates.crt")]
    pub alert_webhook_ca: PathBuf,
}

/// Configuration of a server. Every flag is also an environment variable and a key of the configuration file.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The trust domain of clients that name none, and the only one of most servers.
    #[command(flatten)]
    pub own: DomainArgs,
    /// Those that the configuration file adds.
    #[arg(skip)]
    pub further: Vec<DomainArgs>,
    /// Address for agents and remote operators (TLS 1.3); port 0 chooses a free one
    #[arg(long, env = "SEKISHO_SERVER_LISTEN", default_value = "127.0.0.1:8081", value_parser = listen_address)]
    pub listen: SocketAddr,
    /// Threads that serve requests; default: one for each core
    #[arg(long, env = "SEKISHO_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// TOML file whose keys are the names of these flags. Flags and environment variables take precedence. Each
    /// table `[[domain]]` adds a trust domain with its own name, data folder and settings
    #[arg(long, env = "SEKISHO_SERVER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the metrics of all trust domains are served besides the API: `127.0.0.1:9462` or `unix:/path`
    #[arg(long, env = "SEKISHO_METRICS", value_parser = MetricsAddress::parse)]
    pub metrics: Option<MetricsAddress>,
    /// OTLP collector (gRPC) of this machine for traces, for example `http://127.0.0.1:4317`
    #[arg(long, env = "SEKISHO_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Log filter, in the form of RUST_LOG
    #[arg(long, env = "SEKISHO_LOG", default_value = "info")]
    pub log: String,
}

impl ServerArgs {
    pub(crate) fn domains(&self) -> impl Iterator<Item = &DomainArgs> {
        std::iter::once(&self.own).chain(&self.further)
    }

    /// Refuses trust domains that share what each has for itself.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        let mut seen = BTreeSet::new();
        for domain in self.domains() {
            // A folder may be named in two ways; one that is not there yet has no other name.
            let data = domain.data.canonicalize().unwrap_or_else(|_| domain.data.clone());
            let own = [
                ("name", domain.trust_domain.to_string()),
                ("data folder", data.display().to_string()),
                ("socket", domain.socket_path().display().to_string()),
            ];
            for (what, value) in own {
                if !seen.insert((what, value.clone())) {
                    return Err(ServerError::Twice { what, value });
                }
            }
        }
        Ok(())
    }
}

impl DomainArgs {
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data.join("api.sock"))
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parsed<T: Args + FromArgMatches>(line: &[&str]) -> T {
        let command = T::augment_args(clap::Command::new("t").no_binary_name(true));
        T::from_arg_matches(&command.try_get_matches_from(line).unwrap()).unwrap()
    }

    #[test]
    fn trust_domains_of_one_server_share_nothing() {
        let with = |further: &[&str]| {
            let mut args: ServerArgs = parsed(&["--trust-domain", "a", "--data", "/a"]);
            args.further = vec![parsed(further)];
            args.check().err().map(|error| error.to_string())
        };
        assert_eq!(with(&["--trust-domain", "b", "--data", "/b"]), None);
        assert!(with(&["--trust-domain", "a", "--data", "/b"]).is_some_and(|said| said.contains("same name, a;")));
        assert!(
            with(&["--trust-domain", "b", "--data", "/a"]).is_some_and(|said| said.contains("same data folder, /a;"))
        );
        let socket = with(&["--trust-domain", "b", "--data", "/b", "--server-socket", "/a/api.sock"]);
        assert!(socket.is_some_and(|said| said.contains("same socket")));
        assert!(with(&["--trust-domain", "b", "--data", "/tmp/../tmp/.."]).is_none());
    }
}
