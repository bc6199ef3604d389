use std::path::PathBuf;

use sekisho_net::NetError;
use sekisho_types::{SpiffeIdError, TrustDomain, unix_endpoint};

use crate::IdentitySource;

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
const TRUST_DOMAIN: &str = "SEKISHO_TRUST_DOMAIN";

/// Why an identity could not be followed at all. The first three are for those who deploy the service.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable is not set.
    #[error("the variable {name} is not set; set it, for example `{name}={example}`")]
    Absent {
        /// Its name.
        name: &'static str,
        /// A value of the right form.
        example: &'static str,
    },
    /// The agent's address is not a Unix socket.
    #[error("{SOCKET} is `{0}`, and a Unix socket is needed, for example `unix:///run/sekisho-agent/agent.sock`")]
    Socket(String),
    /// The trust domain is not a name.
    #[error("{TRUST_DOMAIN} is `{0}`: {1}")]
    TrustDomain(String, SpiffeIdError),
    /// TLS could not be set up.
    #[error(transparent)]
    Net(#[from] NetError),
}

/// Where the agent is, and the trust domain, by what the variables hold.
fn settings(variable: impl Fn(&str) -> Option<String>) -> Result<(PathBuf, TrustDomain), StartError> {
    let given =
        |name, example| variable(name).filter(|text| !text.is_empty()).ok_or(StartError::Absent { name, example });
    let socket = given(SOCKET, "unix:///run/sekisho-agent/agent.sock")?;
    let path = unix_endpoint(&socket).map(PathBuf::from).filter(|path| path.is_absolute());
    let name = given(TRUST_DOMAIN, "example.org")?;
    let trust_domain = TrustDomain::parse(&name).map_err(|error| StartError::TrustDomain(name, error))?;
    Ok((path.ok_or(StartError::Socket(socket))?, trust_domain))
}

impl IdentitySource {
    /// The identity of this process, by the environment: `SPIFFE_ENDPOINT_SOCKET` names the agent's socket
    /// (`unix:///run/sekisho-agent/agent.sock`), and `SEKISHO_TRUST_DOMAIN` the trust domain. Call it within a Tokio
    /// runtime.
    pub fn from_env() -> Result<Self, StartError> {
        let (socket, trust_domain) = settings(|name| std::env::var(name).ok())?;
        Ok(Self::of_self(&socket, &trust_domain)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_variables_are_read_and_named_in_errors() {
        let with = |socket: &'static str, name: &'static str| {
            let found = settings(|variable| Some(if variable == SOCKET { socket } else { name }.to_owned()));
            found.map(|(path, trust_domain)| format!("{} {trust_domain}", path.display())).map_err(|e| e.to_string())
        };
        assert_eq!(with("unix:///run/a.sock", "example.org").unwrap(), "/run/a.sock example.org");
        for (socket, name, says) in [
            ("", "example.org", "SPIFFE_ENDPOINT_SOCKET=unix:///run/sekisho-agent/agent.sock"),
            ("tcp://127.0.0.1:1", "example.org", "a Unix socket is needed"),
            ("unix:a.sock", "example.org", "a Unix socket is needed"),
            ("unix:///run/a.sock", "", "SEKISHO_TRUST_DOMAIN=example.org"),
            ("unix:///run/a.sock", "Example.org", "SEKISHO_TRUST_DOMAIN is `Example.org`"),
        ] {
            let error = with(socket, name).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
