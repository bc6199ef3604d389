//! A small client for the server's REST API over its local socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sekisho_api::Problem;
use sekisho_ports::UnixStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::reach::{self, Daemon};

#[derive(Debug, Clone)]
pub(crate) struct Rest {
    socket: PathBuf,
}

impl Rest {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Of the server that these options name.
    pub(crate) fn of(global: &Global) -> Self {
        Self { socket: global.server_socket() }
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

    /// A text that is not JSON, for example a proof file.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let body = self.succeed(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// A file, byte for byte.
    pub(crate) async fn get_bytes(&self, path: &str) -> Result<Bytes, Failure> {
        self.succeed(Method::GET, path, None).await
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

    /// What the server sends at a path for as long as this is read.
    pub(crate) async fn follow(&self, path: &str) -> Result<Lines, Failure> {
        let (status, mut body) = self.open(Method::GET, path, None).await?;
        if status.is_success() {
            return Ok(Lines { body, read: vec![] });
        }
        let bytes = (&mut body).collect().await.map_err(Failure::failed)?.to_bytes();
        Err(problem(status, &bytes))
    }

    async fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<(StatusCode, Bytes), Failure> {
        let (status, body) = self.open(method, path, body).await?;
        let cut = |error| Failure::new(Exit::Unreachable, format!("the server's answer was cut off: {error}"));
        Ok((status, body.collect().await.map_err(cut)?.to_bytes()))
    }

    async fn open(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<(StatusCode, Incoming), Failure> {
        let unreachable = |e: &dyn std::fmt::Display| {
            Failure::new(Exit::Unreachable, format!("the server at {} does not answer: {e}", self.socket.display()))
        };
        let connected = UnixStream::connect(&self.socket).await;
        let stream = connected.map_err(|error| reach::unreachable(Daemon::Server, &self.socket, &error))?;
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
        Ok((response.status(), response.into_body()))
    }
}

/// The lines of an answer that goes on.
pub(crate) struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// The next line that is not empty; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Failure::new(Exit::Unreachable, format!("the connection was closed: {error}")));
                }
                Some(Ok(frame)) => self.read.extend(frame.into_data().unwrap_or_default()),
            }
        }
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
    let failure = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::new(exit, problem.detail),
        Err(_) => Failure::new(exit, String::from_utf8_lossy(body)),
    };
    failure.answered(status)
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
