//! A client for the few web servers that a configuration names, such as witnesses: HTTPS by the public authorities of a
//! PEM file, or plain HTTP on this machine. It follows no redirect and looks at the address that a name resolves to
//! (law L13).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::InvalidHeaderValue;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, version};
use sekisho_types::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::NetError;
use crate::material::certificates_from_pem;
use crate::tls::provider;

/// For a whole call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// The beginning of a server's URLs, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebPrefix {
    https: bool,
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

impl WebPrefix {
    /// Reads `https://host[:port][/path]`; `http://` is for this machine only.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("`{url}` {why}"));
        let Ok(uri) = url.parse::<Uri>() else { return wrong("is not a URL") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return wrong("needs a scheme and a host");
        };
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return wrong("is neither https nor http"),
        };
        if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
            return wrong("may not hold a user, a query or a fragment");
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !https && !local {
            return wrong("is plain HTTP to another machine; use https");
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host, port, path: uri.path().trim_end_matches('/').to_owned() })
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }
}

/// What is posted to a server.
pub struct WebPost<'a> {
    /// Behind the prefix; empty for the prefix itself.
    pub name: &'a str,
    pub content_type: &'static str,
    pub bearer: Option<&'a Secret<Vec<u8>>>,
    pub body: String,
    /// Whether the answer's body is of interest. One that is not is not read, whatever its length.
    pub reads_answer: bool,
}

/// What a server answered, whatever its status.
#[derive(Debug)]
pub struct WebAnswer {
    pub status: StatusCode,
    pub content_type: String,
    pub body: Bytes,
}

#[derive(Clone)]
pub struct WebClient {
    tls: Arc<ClientConfig>,
}

impl WebClient {
    /// `authorities` is PEM; a client without any speaks to this machine only.
    pub fn new(authorities: &[u8]) -> Result<Self, NetError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates_from_pem(authorities).into_iter().map(Into::into));
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13])?;
        let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Self { tls: Arc::new(tls) })
    }

    pub async fn post(&self, prefix: &WebPrefix, post: WebPost<'_>) -> Result<WebAnswer, NetError> {
        let address = prefix.authority();
        let call = async {
            let stream = connect(prefix).await.map_err(|source| NetError::Io { address: address.clone(), source })?;
            if !prefix.https {
                return exchange(prefix, post, stream).await;
            }
            let server = ServerName::try_from(prefix.host.clone());
            let server = server.map_err(|e| NetError::Handshake { address: address.clone(), reason: e.to_string() })?;
            let stream = TlsConnector::from(self.tls.clone()).connect(server, stream).await;
            let failed = |e: std::io::Error| NetError::Handshake { address: address.clone(), reason: e.to_string() };
            exchange(prefix, post, stream.map_err(failed)?).await
        };
        tokio::time::timeout(TIMEOUT, call).await.unwrap_or_else(|_| Err(NetError::Timeout(address.clone())))
    }
}

/// Connects to the first address that the name may stand for.
async fn connect(prefix: &WebPrefix) -> std::io::Result<TcpStream> {
    let found = tokio::net::lookup_host((prefix.host.as_str(), prefix.port)).await?;
    let may = |address: &SocketAddr| if prefix.https { is_host(address.ip()) } else { address.ip().is_loopback() };
    let allowed: Vec<SocketAddr> = found.filter(may).collect();
    match allowed.is_empty() {
        true => Err(std::io::Error::other("its name stands for no address that may be dialled")),
        false => TcpStream::connect(allowed.as_slice()).await,
    }
}

/// Whether this can be a witness: link-local addresses are those of clouds' metadata services.
fn is_host(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified() && !v6.is_multicast(),
    }
}

async fn exchange<S>(prefix: &WebPrefix, post: WebPost<'_>, stream: S) -> Result<WebAnswer, NetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = prefix.authority();
    let failed = |error: &dyn std::fmt::Display| NetError::Io {
        address: address.clone(),
        source: std::io::Error::other(error.to_string()),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let driver = tokio::spawn(connection);
    let WebPost { name, content_type, bearer, body, reads_answer } = post;
    let path = if name.is_empty() && !prefix.path.is_empty() { "" } else { "/" };
    let request = Request::post(format!("{}{path}{name}", prefix.path))
        .header(header::HOST, &address)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONNECTION, "close");
    let request = match bearer {
        Some(token) => request.header(header::AUTHORIZATION, bearer_value(token).map_err(|e| failed(&e))?),
        None => request,
    };
    let request = request.body(axum::body::Body::from(body)).map_err(|e| failed(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let (head, body) = answer.into_parts();
    let body = if reads_answer {
        axum::body::to_bytes(axum::body::Body::new(body), MAX_ANSWER).await.map_err(|e| failed(&e))?
    } else {
        Bytes::new()
    };
    driver.abort();
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(WebAnswer { status: head.status, content_type: content_type.unwrap_or_default().to_owned(), body })
}

/// Hidden from what prints headers.
fn bearer_value(token: &Secret<Vec<u8>>) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_bytes(Secret::new([b"Bearer ", token.expose().as_slice()].concat()).expose())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l13_a_prefix_is_https_or_this_machine() {
        for good in [
            "https://w.example",
            "https://w.example:8443/a/b/",
            "http://127.0.0.1:80",
            "http://localhost",
            "http://[::1]:9/x",
        ] {
            WebPrefix::parse(good).unwrap();
        }
        let bad = [
            "",
            "w.example",
            "http://w.example",
            "http://169.254.169.254/",
            "ftp://127.0.0.1",
            "https://u@w.example",
            "https://w.example?x=1",
            "https://w.example/#x",
            "http://127.0.0.1.w.example/",
            "http://localhost.w.example/",
        ];
        for bad in bad {
            assert!(WebPrefix::parse(bad).is_err(), "{bad}");
        }
        let prefix = WebPrefix::parse("https://w.example:8443/a/b/").unwrap();
        assert_eq!((prefix.path.as_str(), prefix.authority().as_str()), ("/a/b", "w.example:8443"));
    }

    #[test]
    fn law_l13_metadata_services_are_not_dialled() {
        for bad in ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "::ffff:169.254.169.254", "224.0.0.1", "ff02::1"] {
            assert!(!is_host(bad.parse().unwrap()), "{bad}");
        }
        for good in ["10.0.0.1", "93.184.216.34", "2001:db8::1", "127.0.0.1"] {
            assert!(is_host(good.parse().unwrap()), "{good}");
        }
    }
}
