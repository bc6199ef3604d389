//! The file that says which identity is at which address.

use std::net::IpAddr;
use std::path::Path;

use sekisho_policy::{Endpoint, Endpoints, Transport};
use sekisho_types::SpiffeId;
use serde::Deserialize;

use crate::exit::Failure;
use crate::reach;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    endpoints: Vec<EndpointForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointForm {
    spiffe_id: String,
    address: IpAddr,
    protocol: Option<ProtocolForm>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProtocolForm {
    Tcp,
    Udp,
}

impl EndpointForm {
    fn read(self) -> Result<Endpoint, String> {
        let spiffe_id = SpiffeId::parse(&self.spiffe_id).map_err(|error| format!("`{}`: {error}", self.spiffe_id))?;
        let listens = match (self.protocol, self.port) {
            (None, None) => None,
            (Some(ProtocolForm::Tcp), Some(port)) => Some((Transport::Tcp, port)),
            (Some(ProtocolForm::Udp), Some(port)) => Some((Transport::Udp, port)),
            _ => return Err(format!("{spiffe_id}: write both `protocol` and `port`, or neither if it only calls")),
        };
        Ok(Endpoint { spiffe_id, address: self.address, listens })
    }
}

fn parse(text: &str) -> Result<Endpoints, String> {
    let form: FileForm = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let all = form.endpoints.into_iter().map(EndpointForm::read).collect::<Result<Vec<_>, _>>()?;
    Endpoints::new(all).map_err(|error| error.to_string())
}

pub(crate) fn read(path: &Path) -> Result<Endpoints, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| reach::unreadable(path, &error))?;
    parse(&text).map_err(|why| Failure::failed(format!("{}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_whole_or_refused() {
        let known = parse(
            "endpoints:\n- {spiffe_id: 'spiffe://td/db', address: 10.0.0.1, protocol: tcp, port: 5432}\n\
             - {spiffe_id: 'spiffe://td/web', address: '2001:db8::1'}\n",
        );
        assert_eq!(known.unwrap().iter().count(), 2);
        for (text, why) in [
            ("endpoints:\n- {spiffe_id: 'spiffe://td/db', address: db.local}\n", "address"),
            ("endpoints:\n- {spiffe_id: 'spiffe://td/db', address: 10.0.0.1, port: 5432}\n", "`protocol`"),
            ("endpoints:\n- {spiffe_id: 'td/db', address: 10.0.0.1}\n", "td/db"),
            ("endpoints:\n- {spiffe_id: 'spiffe://td/db', address: 10.0.0.1, ports: 5432}\n", "ports"),
            ("endpoints:\n- {spiffe_id: 'spiffe://td/db', address: 10.0.0.1, protocol: icmp, port: 1}\n", "icmp"),
            ("{}", "endpoints"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
