//! The address of a Workload API endpoint (SPIFFE_Workload_Endpoint.md §4).

/// The path in `unix:/path` or `unix:///path`. Nothing else names a Unix socket.
pub fn unix_endpoint(text: &str) -> Option<&str> {
    let path = text.strip_prefix("unix:")?;
    Some(path.strip_prefix("//").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::unix_endpoint;

    #[test]
    fn an_endpoint_has_two_forms() {
        assert_eq!(unix_endpoint("unix:/run/a.sock"), Some("/run/a.sock"));
        assert_eq!(unix_endpoint("unix:///run/a.sock"), Some("/run/a.sock"));
        assert_eq!(unix_endpoint("tcp://127.0.0.1:1"), None);
    }
}
