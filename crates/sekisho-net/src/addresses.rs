//! Addresses as people write them in flags.

use std::net::SocketAddr;

/// `address:port`, to listen on.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not `address:port`, for example `127.0.0.1:8081` or `[::]:8081`"))
}

/// `host:port`, to connect to.
pub fn host_and_port(text: &str) -> Result<String, String> {
    let is_host = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/']),
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not `host:port`, for example `server.example.org:8081` or `127.0.0.1:8081`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_answered_with_the_form() {
        for good in ["localhost:8081", "127.0.0.1:8081", "[::1]:8081", "server.example.org:443"] {
            assert_eq!(host_and_port(good).unwrap(), good);
        }
        for bad in ["localhost", "8081", ":8081", "localhost:", "localhost:0", "::1:8081", "https://a:1", "[x]:1"] {
            assert!(host_and_port(bad).unwrap_err().contains("`host:port`"), "{bad}");
        }
        assert!(listen_address("127.0.0.1:0").is_ok() && listen_address("[::]:8081").is_ok());
        for bad in ["8081", "localhost:8081", ":8081"] {
            assert!(listen_address(bad).unwrap_err().contains("`127.0.0.1:8081`"), "{bad}");
        }
    }
}
