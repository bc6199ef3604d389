//! A small client for the server's REST API over its local socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::exit::{Exit, Failure};

#[derive(Debug, Clone)]
pub(crate) struct Rest {
    socket: PathBuf,
}

impl Rest {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(method, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.call(Method::DELETE, path, None).await.map(|_| ())
    }

    /// A text that is no JSON, for example a proof file.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let (status, body) = self.request(Method::GET, path, None).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() { Ok(text) } else { Err(problem(status, &body)) }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, body) = self.request(method, path, body).await?;
        if !status.is_success() {
            return Err(problem(status, &body));
        }
        if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body).map_err(Failure::failed) }
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), Failure> {
        let unreachable = |e: &dyn std::fmt::Display| {
            let at = self.socket.display();
            Failure::new(
                Exit::Unreachable,
                format!("no server answers at {at}; start one, or give `--server-socket` ({e})"),
            )
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                let at = self.socket.display();
                Failure::new(Exit::Unauthorised, format!("{at}: only root and the server's own user may administer it"))
            }
            _ => unreachable(&e),
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| unreachable(&e))?;
        tokio::spawn(connection);
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sekisho")
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .map_err(Failure::failed)?;
        let response = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| unreachable(&e))?.to_bytes();
        Ok((status, body))
    }
}

fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let detail = serde_json::from_slice::<Value>(body).ok();
    let detail = detail.as_ref().and_then(|problem| problem.get("detail")).and_then(Value::as_str);
    let fallback = String::from_utf8_lossy(body);
    let exit = match status {
        StatusCode::FORBIDDEN => Exit::Unauthorised,
        StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
        _ => Exit::Failed,
    };
    Failure::new(exit, detail.unwrap_or(&fallback))
}
