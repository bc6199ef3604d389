//! Fields that belong to one connection, which a proxy must not pass on (RFC 9110 §7.6.1).

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// The authority of a request that names none.
pub(crate) const NO_AUTHORITY: &str = "service";

/// The fields that `Connection` names.
pub(crate) fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    values.flat_map(|value| value.split(|byte| *byte == b',')).filter_map(|name| name.trim_ascii().try_into().ok())
}

/// Drops the fields that `Connection` names. `TE` is decided on by each hop.
pub(crate) fn drop_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let names: Vec<_> = nominated(headers).filter(|name| name != TE && name != TRANSFER_ENCODING).collect();
    for name in names {
        headers.remove(name);
    }
}

/// Drops them from a request whose other such fields are the guard's to refuse, or set anew.
pub(crate) fn drop_connection(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Names the host of a request that goes on over HTTP/1.1. What came as `Host` was read as an authority, and stays.
pub(crate) fn set_host(uri: &Uri, headers: &mut HeaderMap) -> Option<()> {
    if let Some(authority) = uri.authority() {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    } else if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_static(NO_AUTHORITY));
    }
    Some(())
}

/// Drops all of them.
pub(crate) fn drop_all(headers: &mut HeaderMap) {
    drop_nominated(headers);
    drop_connection(headers);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
}

/// The same for a request to a peer, where `te` may say one thing (RFC 9113 §8.2.2). Services on gRPC's C core
/// answer nothing without it.
pub(crate) fn for_peer(headers: &mut HeaderMap) {
    drop_all(headers);
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_hop_keeps_its_own_fields_to_itself() {
        let mut sent =
            headers(&[("connection", "keep-alive, x-hop"), ("x-hop", "1"), ("keep-alive", "9"), ("x-kept", "1")]);
        drop_all(&mut sent);
        assert_eq!(sent, headers(&[("x-kept", "1")]));
    }

    #[test]
    fn only_te_trailers_is_kept_on_outbound() {
        let mut grpc = headers(&[("te", "trailers")]);
        for_peer(&mut grpc);
        assert_eq!(grpc, headers(&[("te", "trailers")]));
        let mut other = headers(&[("te", "trailers, deflate"), ("connection", "te")]);
        for_peer(&mut other);
        assert!(other.is_empty(), "{other:?}");
    }
}
