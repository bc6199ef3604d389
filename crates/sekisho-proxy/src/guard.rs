//! What two parsers could read differently is refused, not normalised: the bytes that are judged are the bytes that
//! are forwarded (law L2).

use std::collections::BTreeMap;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request::Parts};

use crate::hops::{self, NO_AUTHORITY};

/// Headers that we set, and that no one else may.
pub(crate) const PEER_HEADER: &str = "x-sekisho-peer-id";
pub(crate) const DECISION_HEADER: &str = "x-sekisho-decision";

const MAX_PATH_BYTES: usize = 8 * 1024;

/// Fields that no connection may claim (RFC 9110 §7.6.1): without them a request has another meaning or another end.
const MEANT_FOR_THE_SERVICE: [&str; 7] =
    ["authorization", "content-encoding", "content-length", "content-type", "cookie", "host", "range"];

/// Why a request is refused before it is judged. The peer has to correct the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    #[error("the path has an empty, `.` or `..` segment")]
    Segments,
    #[error(
        "the path holds an encoded slash, dot, backslash, `?`, `#`, `;` or control character, encoded bytes that are \
            not UTF-8, or a character that must be encoded"
    )]
    Encoding,
    #[error("the path is longer than 8 KiB, or the target is not a path")]
    Target,
    #[error("the authority and the `Host` header differ, or one stands twice")]
    Authority,
    #[error("an HTTP/1.1 request has no `Host` header")]
    NoHost,
    #[error("the message's length is given twice")]
    Length,
    #[error("only the sidecar may set the header `{PEER_HEADER}`, or one like it")]
    Forged,
    #[error("a header names another target or method than the request")]
    Override,
    #[error("a header name has an underscore, which some servers read as a hyphen")]
    HeaderName,
    #[error("a header value is not UTF-8")]
    HeaderValue,
    #[error("a header value begins or ends with a blank")]
    Blank,
    #[error("CONNECT, TRACE and protocol upgrades do not pass")]
    Method,
    #[error("`Connection` names a header that is meant for the service")]
    Nominated,
}

/// A request that can be read in one way only.
#[derive(Debug)]
pub struct Plain {
    pub path: Vec<String>,
    /// What follows the first `?`; empty without one.
    pub query: String,
    /// Names in lower case; several values joined by `, `, cookies by `; `. `host` is the authority, however it came.
    pub headers: BTreeMap<String, String>,
}

/// Reads a request head without what belongs to its connection, or refuses it.
pub(crate) fn admit(parts: &mut Parts) -> Result<Plain, Ambiguous> {
    check(parts)?;
    hops::drop_nominated(&mut parts.headers);
    plain(parts)
}

/// Reads a request head, or refuses it.
pub fn read(parts: &Parts) -> Result<Plain, Ambiguous> {
    check(parts)?;
    plain(parts)
}

fn plain(parts: &Parts) -> Result<Plain, Ambiguous> {
    let path = parts.uri.path().trim_start_matches('/');
    let path = if path.is_empty() { vec![] } else { path.split('/').map(str::to_owned).collect() };
    let mut headers = headers(&parts.headers)?;
    match parts.uri.authority() {
        Some(authority) => drop(headers.insert("host".to_owned(), authority.to_string())),
        None => drop(headers.entry("host".to_owned()).or_insert_with(|| NO_AUTHORITY.to_owned())),
    }
    Ok(Plain { path, query: parts.uri.query().unwrap_or_default().to_owned(), headers })
}

/// Refuses a request head that could be read in two ways.
pub(crate) fn check(parts: &Parts) -> Result<(), Ambiguous> {
    if [Method::CONNECT, Method::TRACE].contains(&parts.method) || parts.headers.contains_key(UPGRADE) {
        return Err(Ambiguous::Method);
    }
    // RFC 9112 §3.2: a server answers 400 to a request of HTTP/1.1 without it.
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(HOST) {
        return Err(Ambiguous::NoHost);
    }
    check_authority(&parts.uri, &parts.headers)?;
    check_length(parts.version, &parts.headers)?;
    // Dropped, they would leave another request than the one that came.
    if hops::nominated(&parts.headers).any(|name| MEANT_FOR_THE_SERVICE.contains(&name.as_str())) {
        return Err(Ambiguous::Nominated);
    }
    check_path(&parts.uri)?;
    check_headers(&parts.headers)
}

/// One cookie header in place of several (RFC 9113 §8.2.3): as policy reads them, and as HTTP/1.1 needs it.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

fn check_path(uri: &Uri) -> Result<(), Ambiguous> {
    let path = uri.path();
    let Some(rest) = path.strip_prefix('/').filter(|_| path.len() <= MAX_PATH_BYTES) else {
        return Err(Ambiguous::Target);
    };
    let (mut bytes, mut decoded_path) = (path.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                let code = [bytes.next(), bytes.next()].map(|digit| digit.and_then(|d| char::from(d).to_digit(16)));
                let [Some(high), Some(low)] = code else { return Err(Ambiguous::Encoding) };
                let decoded = (high * 16 + low) as u8;
                decoded_path.push(decoded);
                // An encoded letter, dot or slash has a plain form that another parser would see. What ends a path is
                // seen by one that decodes first.
                !(decoded.is_ascii_alphanumeric() || decoded.is_ascii_control() || b"./\\-_~%?#;".contains(&decoded))
            }
            // `;` begins parameters for some servers and is a plain character for others.
            b'\\' | b';' => false,
            _ => {
                decoded_path.push(byte);
                byte.is_ascii_graphic()
            }
        };
        if !fine {
            return Err(Ambiguous::Encoding);
        }
    }
    // `%c0%ae` is a dot to a lenient decoder; some treat a control character of Unicode as absent.
    if std::str::from_utf8(&decoded_path).map_or(true, |text| text.contains(char::is_control)) {
        return Err(Ambiguous::Encoding);
    }
    // One trailing slash is a path of its own, and is kept as an empty last segment.
    let inner = rest.strip_suffix('/').unwrap_or(rest);
    let trick = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if !rest.is_empty() && inner.split('/').any(trick) { Err(Ambiguous::Segments) } else { Ok(()) }
}

fn check_authority(uri: &Uri, headers: &HeaderMap) -> Result<(), Ambiguous> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    // A `Host` that is not an authority could smuggle a path into the forwarded target.
    let no_authority = host.is_some_and(|host| {
        http::uri::Authority::try_from(host.as_bytes())
            .map_or(true, |parsed| parsed.as_str().as_bytes() != host.as_bytes())
            || host.as_bytes().contains(&b'@')
    });
    let differs = match (uri.authority(), host) {
        (Some(authority), Some(host)) => host.as_bytes() != authority.as_str().as_bytes(),
        _ => false,
    };
    if second.is_some() || no_authority || differs || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(Ambiguous::Authority);
    }
    Ok(())
}

fn check_length(version: Version, headers: &HeaderMap) -> Result<(), Ambiguous> {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let encodings = headers.get_all(TRANSFER_ENCODING).iter().count();
    let chunked = headers.get(TRANSFER_ENCODING).is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let http2 = version == Version::HTTP_2;
    if lengths > 1 || encodings > 1 || (lengths > 0 && encodings > 0) || !chunked || (http2 && encodings > 0) {
        return Err(Ambiguous::Length);
    }
    // RFC 9113 §8.2.2: connection-specific fields make an HTTP/2 request malformed.
    let te = headers.get(TE).is_none_or(|value| value == "trailers" || !http2);
    if http2 && (headers.contains_key(CONNECTION) || !te) { Err(Ambiguous::Length) } else { Ok(()) }
}

/// Headers by which frameworks let a client replace the target or the method that was judged (`-` for any of `-_.`).
const OVERRIDES: [&str; 14] = [
    "x-original-url",
    "x-original-uri",
    "x-original-path",
    "x-envoy-original-path",
    "x-http-path-override",
    "x-forwarded-uri",
    "x-original-method",
    "x-rewrite-url",
    "x-override-url",
    "x-forwarded-method",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-method",
];

fn check_headers(headers: &HeaderMap) -> Result<(), Ambiguous> {
    for name in headers.keys().map(http::HeaderName::as_str) {
        // Names are in lower case here. Gateway interfaces turn `-`, and some every other sign, into an underscore, so
        // that these look alike.
        // All that is refused begins so, and few headers do.
        if name.starts_with('x') {
            let folded = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            if folded.starts_with("x-sekisho-") || folded == "x-forwarded-client-cert" {
                return Err(Ambiguous::Forged);
            }
            if OVERRIDES.contains(&folded.as_str()) {
                return Err(Ambiguous::Override);
            }
        }
        if name.contains('_') {
            return Err(Ambiguous::HeaderName);
        }
    }
    // RFC 9113 §8.2.1: such a value is malformed. Over HTTP/1.1 the blanks were no part of it.
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| [b' ', b'\t'].contains(byte));
    let edges = |value: &HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
    if headers.values().any(edges) { Err(Ambiguous::Blank) } else { Ok(()) }
}

fn headers(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Ambiguous> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| Ambiguous::HeaderValue)?;
        match out.get_mut(name.as_str()) {
            Some(all) => {
                // HTTP/2 may cut one cookie header into several (RFC 9113 §8.2.3).
                all.push_str(if name == http::header::COOKIE { "; " } else { ", " });
                all.push_str(value);
            }
            None => drop(out.insert(name.as_str().to_owned(), value.to_owned())),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(target);
        if !headers.iter().any(|(name, _)| *name == "host") && !target.starts_with("http") {
            request = request.header("host", "a");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let version = if target.starts_with("http") { Version::HTTP_2 } else { Version::HTTP_11 };
        request.version(version).body(()).unwrap().into_parts().0
    }

    #[test]
    fn law_l2_path_tricks_are_refused_and_not_normalised() {
        for bad in [
            "/v1/../admin",
            "/v1/./x",
            "/v1//x",
            "//v1",
            "/v1/%2e%2e/admin",
            "/v1/%2E/x",
            "/v1%2ftransactions",
            "/v1%5cx",
            "/v1/%00",
            "/v1/%61dmin",
            "/v1/x;y=1",
            "/v1/%zz",
            "/v1/%252e%252e/x",
            "*",
            // What a lenient decoder reads as `..`, and what is not UTF-8 at all.
            "/v1/%c0%ae%c0%ae/admin",
            "/v1/%e0%80%af",
            "/v1/%ff",
            "/v1/%c3",
            "/v1/%c2%80",
            "/v1/%ed%a0%80",
            "/v1/public%3fx",
            "/v1/public%23x",
            "/v1/public%3Bx",
        ] {
            assert!(read(&parts(bad, &[])).is_err(), "{bad}");
        }
        assert_eq!(read(&parts("/v1/transactions?q=%2e", &[])).unwrap().path, ["v1", "transactions"]);
        assert_eq!(read(&parts("/v1/", &[])).unwrap().path, ["v1", ""]);
        assert_eq!(read(&parts("/v1/a%20b", &[])).unwrap().path, ["v1", "a%20b"]);
        assert_eq!(read(&parts("/v1/%c3%bc", &[])).unwrap().path, ["v1", "%c3%bc"]);
    }

    #[test]
    fn look_alikes_and_double_lengths_are_refused() {
        for bad in [
            &[("x-sekisho-peer-id", "spiffe://td/admin")][..],
            &[("x_sekisho_peer_id", "spiffe://td/admin")],
            &[("X-Sekisho_Peer-Id", "a")],
            &[("x-forwarded-client-cert", "a")],
            &[("x_user", "a")],
            &[("x.sekisho.peer.id", "spiffe://td/admin")],
            &[("x-sekisho.peer_id", "spiffe://td/admin")],
            &[("x.forwarded.client.cert", "a")],
            &[("x-sekisho~peer-id", "spiffe://td/admin")],
            &[("x-original-url", "/admin")],
            &[("x-forwarded-uri", "/admin")],
            &[("X-Rewrite-URL", "/admin")],
            &[("x.original.uri", "/admin")],
            &[("x-http-method-override", "DELETE")],
            &[("x-http-method", "DELETE")],
            &[("x-method-override", "DELETE")],
            &[("a", " b")],
            &[("a", "b\t")],
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("host", "a"), ("host", "b")],
            &[("upgrade", "h2c")],
            &[("host", "svc/admin?x=")],
            &[("host", "u@svc")],
        ] {
            assert!(read(&parts("/", bad)).is_err(), "{bad:?}");
        }
        assert_eq!(read(&parts("http://a/", &[("host", "b")])).unwrap_err(), Ambiguous::Authority);
        assert_eq!(read(&parts("http://u@a/", &[])).unwrap_err(), Ambiguous::Authority);
        read(&parts("http://a/", &[("host", "a")])).unwrap();
        let mut none = parts("/", &[]);
        none.headers.remove("host");
        assert_eq!(check(&none).unwrap_err(), Ambiguous::NoHost);
    }

    #[test]
    fn refused_names_begin_alike() {
        assert!(OVERRIDES.iter().all(|name| name.starts_with('x')));
    }

    #[test]
    fn law_l2_fields_that_connection_names_are_dropped() {
        let sent = [("connection", "close, X-Role, x-hop"), ("x-role", "admin"), ("x-hop", "1"), ("x-kept", "1")];
        let mut head = parts("/", &sent);
        let judged = admit(&mut head).unwrap();
        for name in ["x-role", "x-hop"] {
            assert!(!judged.headers.contains_key(name) && !head.headers.contains_key(name), "{name}");
        }
        assert!(judged.headers.contains_key("x-kept"));
        let stolen = [("connection", "close,authorization"), ("authorization", "Bearer x")];
        assert_eq!(admit(&mut parts("/", &stolen)).unwrap_err(), Ambiguous::Nominated);
        assert_eq!(check(&parts("/", &[("connection", "Host")])).unwrap_err(), Ambiguous::Nominated);
    }

    #[test]
    fn cookie_crumbs_are_forwarded_as_judged() {
        let mut crumbs = parts("http://a/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        let judged = read(&crumbs).unwrap().headers["cookie"].clone();
        join_cookies(&mut crumbs.headers);
        let forwarded: Vec<_> = crumbs.headers.get_all("cookie").iter().map(|c| c.to_str().unwrap()).collect();
        assert_eq!((forwarded, judged.as_str()), (vec![judged.as_str()], "a=1; b=2"));
    }
}
