//! A small client for the server's REST API over its local socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sekisho_api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

    pub(crate) async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// What is at a path, as the query asks for it.
    pub(crate) async fn find<R: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<R, Failure> {
        self.call(Method::GET, &with_query(path, query)?, None).await
    }

    pub(crate) async fn send<R>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<R, Failure>
    where
        R: DeserializeOwned,
    {
        self.call(method, path, Some(serialized(body)?)).await
    }

    /// Has something done whose reply is empty.
    pub(crate) async fn order(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), Failure> {
        self.succeed(method, path, Some(serialized(body)?)).await.map(drop)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.succeed(Method::DELETE, path, None).await.map(drop)
    }

    /// A text that is no JSON, for example a proof file.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let body = self.succeed(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn call<R: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<R, Failure> {
        let body = self.succeed(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::failed(format!("the server's reply is of another version, use its own `sekisho` ({error})"))
        })
    }

    async fn succeed(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, Failure> {
        let (status, body) = self.request(method, path, body).await?;
        if status.is_success() { Ok(body) } else { Err(problem(status, &body)) }
    }

    async fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<(StatusCode, Bytes), Failure> {
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
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sekisho")
            .header("content-type", "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(Failure::failed)?;
        let response = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| unreachable(&e))?.to_bytes();
        Ok((status, body))
    }
}

fn serialized(body: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(body).map(Bytes::from).map_err(Failure::failed)
}

/// A path with a query behind it, in which absent members are left out.
pub(crate) fn with_query(path: &str, query: &impl Serialize) -> Result<String, Failure> {
    let query = serde_urlencoded::to_string(query).map_err(Failure::failed)?;
    Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
}

fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let exit = match status {
        StatusCode::FORBIDDEN => Exit::Unauthorised,
        StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
        _ => Exit::Failed,
    };
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::new(exit, problem.detail),
        Err(_) => Failure::new(exit, String::from_utf8_lossy(body)),
    }
}

#[cfg(test)]
mod tests {
    use sekisho_api::EntriesQuery;

    use super::*;

    #[test]
    fn a_query_leaves_out_what_is_absent() {
        let all = EntriesQuery::default();
        assert_eq!(with_query("/v1/entries", &all).unwrap(), "/v1/entries");
        let some = EntriesQuery { spiffe_id: Some("spiffe://td/a&b".into()), limit: Some(5), ..all };
        let path = "/v1/entries?spiffe_id=spiffe%3A%2F%2Ftd%2Fa%26b&limit=5";
        assert_eq!(with_query("/v1/entries", &some).unwrap(), path);
    }
}
