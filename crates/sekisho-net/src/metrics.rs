//! Where a scraper reads metrics: an address of this machine, or a Unix socket of the program's own user.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sekisho_ports::is_simulated;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::NetError;
use crate::listen::{Listens, accept_each, listen_unix};
use crate::slots::Slots;

/// Connections of scrapers that are open at the same time.
const MAX_SCRAPERS: usize = 32;
/// In which a scraper has sent its request.
const HEAD: Duration = Duration::from_secs(5);
/// In which it has read the answer.
const SCRAPE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl MetricsAddress {
    /// `unix:/path`, or an address of this machine: the hop has no TLS.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address: SocketAddr =
            text.parse().map_err(|_| format!("`{text}` is not `unix:/path` or `127.0.0.1:9464`"))?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(format!(
                "`{text}` is not an address of this machine, and metrics have no TLS: let a scraper here forward them"
            ))
        }
    }
}

/// The metrics of a program that has a folder of its own: at the address that was named, or at `metrics.sock` in the
/// folder. A path that is too long for a socket, for example, keeps no program from its work.
pub async fn serve_own_metrics(
    named: Option<&MetricsAddress>,
    folder: &Path,
    render: impl Fn() -> String + Send + Sync + 'static,
    stop: CancellationToken,
) -> Result<Pin<Box<dyn Future<Output = ()> + Send>>, NetError> {
    let own = MetricsAddress::Unix(folder.join("metrics.sock"));
    match serve_metrics(named.unwrap_or(&own), render, stop.clone()).await {
        Err(error) if named.is_none() => {
            tracing::warn!(%error, "metrics are not served; `--metrics` names another place");
            Ok(Box::pin(stop.cancelled_owned()))
        }
        served => served,
    }
}

/// Serves `GET /metrics` until `stop`; what `render` gives, in Prometheus' text format.
pub async fn serve_metrics(
    address: &MetricsAddress,
    render: impl Fn() -> String + Send + Sync + 'static,
    stop: CancellationToken,
) -> Result<Pin<Box<dyn Future<Output = ()> + Send>>, NetError> {
    // A simulated machine has no scraper.
    if is_simulated() {
        return Ok(Box::pin(stop.cancelled_owned()));
    }
    let render: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(render);
    let answer = move |headers: HeaderMap| {
        let render = render.clone();
        async move { answered(&headers, || render()) }
    };
    let router = Router::new().route("/metrics", get(answer));
    Ok(match address {
        MetricsAddress::Tcp(address) => {
            let bound = tokio::net::TcpListener::bind(address).await;
            let bound = bound.map_err(|source| NetError::Io { address: address.to_string(), source })?;
            Box::pin(async move { accept_scrapers(&bound, |(stream, _)| stream, router, stop).await })
        }
        MetricsAddress::Unix(path) => {
            let bound = listen_unix(path, 0o600)?;
            Box::pin(async move { accept_scrapers(&bound, |stream| stream, router, stop).await })
        }
    })
}

/// Answers one request on each connection. Any user of this machine can connect to a TCP address: connections are few
/// and short, so that they take no descriptors from the program's own work (law L9).
async fn accept_scrapers<L: Listens, S>(
    listener: &L,
    stream_of: impl Fn(L::Stream) -> S,
    router: Router,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Slots::new(MAX_SCRAPERS, MAX_SCRAPERS);
    accept_each(listener, &stop, |accepted| {
        let Some(slot) = slots.take(()) else { return };
        let (stream, router, stop) = (stream_of(accepted), router.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            let served = builder.serve_connection(TokioIo::new(stream), service);
            let _ended = stop.run_until_cancelled(tokio::time::timeout(SCRAPE, served)).await;
            drop(slot);
        });
    })
    .await;
}

/// A page that a browser here was led to by a name of its own (DNS rebinding) reads nothing.
fn answered(headers: &HeaderMap, render: impl FnOnce() -> String) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let ours = name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    if !ours {
        return (StatusCode::MISDIRECTED_REQUEST, "ask by address\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_listened_on() {
        assert_eq!(MetricsAddress::parse("unix:/run/m"), Ok(MetricsAddress::Unix("/run/m".into())));
        assert!(MetricsAddress::parse("127.0.0.1:9464").is_ok() && MetricsAddress::parse("[::1]:9464").is_ok());
        assert!(
            ["0.0.0.0:9464", "192.0.2.1:1", "localhost:1", "9464"]
                .into_iter()
                .all(|a| MetricsAddress::parse(a).is_err())
        );
    }

    #[tokio::test]
    async fn only_a_stale_socket_is_replaced() {
        let own = tempfile::tempdir().unwrap();
        let serve = |name| MetricsAddress::Unix(own.path().join(name));
        std::fs::write(own.path().join("file"), "kept").unwrap();
        assert!(serve_metrics(&serve("file"), String::new, CancellationToken::new()).await.is_err());
        assert_eq!(std::fs::read_to_string(own.path().join("file")).unwrap(), "kept");
        let first = serve_metrics(&serve("socket"), String::new, CancellationToken::new()).await.unwrap();
        assert!(serve_metrics(&serve("socket"), String::new, CancellationToken::new()).await.is_err());
        drop(first);
        assert!(serve_metrics(&serve("socket"), String::new, CancellationToken::new()).await.is_ok());
    }

    #[tokio::test]
    async fn law_l9_unfinished_requests_keep_few_descriptors() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let own = tempfile::tempdir().unwrap();
        let path = own.path().join("socket");
        let stop = CancellationToken::new();
        let address = MetricsAddress::Unix(path.clone());
        let served = serve_metrics(&address, || "x 1".to_owned(), stop.clone()).await.unwrap();
        let served = tokio::spawn(served);
        let mut held = vec![];
        for _ in 0..MAX_SCRAPERS {
            let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
            held.push(stream);
        }
        // What is over the limit is closed at once, and the rest when their requests do not come.
        let mut more = tokio::net::UnixStream::connect(&path).await.unwrap();
        assert_eq!(more.read(&mut [0; 16]).await.unwrap_or(0), 0);
        let mut rest = vec![];
        let closed = tokio::time::timeout(SCRAPE, held[0].read_to_end(&mut rest)).await;
        assert!(closed.is_ok() && !String::from_utf8_lossy(&rest).contains("x 1"));
        drop(held);
        let ask = async || {
            let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            let mut answer = String::new();
            let _sent = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            let _read = stream.read_to_string(&mut answer).await;
            answer
        };
        let mut answer = ask().await;
        for _ in 0..100 {
            if answer.ends_with("x 1") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = ask().await;
        }
        assert!(answer.ends_with("x 1"), "{answer}");
        stop.cancel();
        served.await.unwrap();
    }

    #[test]
    fn a_name_that_is_not_ours_reads_nothing() {
        let status = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            answered(&headers, || "x".to_owned()).status()
        };
        assert!(
            ["localhost:1", "127.0.0.1:9464", "[::1]:9464", "[::1]"]
                .into_iter()
                .all(|host| status(host) == StatusCode::OK)
        );
        assert_eq!(status("evil.example:9464"), StatusCode::MISDIRECTED_REQUEST);
    }
}
