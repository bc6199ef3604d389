//! Where a scraper reads metrics: an address of this machine, or a Unix socket of the program's own user.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sekisho_ports::is_simulated;
use tokio_util::sync::CancellationToken;

use crate::NetError;
use crate::listen::remove_stale;

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
    let failed = |address: String| move |source| NetError::Io { address, source };
    let listener = match address {
        MetricsAddress::Tcp(address) => {
            let bound = tokio::net::TcpListener::bind(address).await;
            Listener::Tcp(bound.map_err(failed(address.to_string()))?)
        }
        MetricsAddress::Unix(path) => {
            let shown = path.display().to_string();
            remove_stale(path).map_err(failed(shown.clone()))?;
            let bound = tokio::net::UnixListener::bind(path).map_err(failed(shown.clone()))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed(shown))?;
            Listener::Unix(bound)
        }
    };
    Ok(Box::pin(async move {
        let stopped = stop.cancelled_owned();
        let served = match listener {
            Listener::Tcp(listener) => axum::serve(listener, router).with_graceful_shutdown(stopped).await,
            Listener::Unix(listener) => axum::serve(listener, router).with_graceful_shutdown(stopped).await,
        };
        if let Err(error) = served {
            tracing::warn!(%error, "metrics are not served any more");
        }
    }))
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
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
