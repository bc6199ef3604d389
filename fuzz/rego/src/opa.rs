//! A server of OPA on loopback, and its REST API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sekisho_rego::syntax::ast::Version;
use sekisho_rego::value::Value;

use crate::ours::{Failure, Outcome};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(30);

/// How long a reply may take.
const REPLY: Duration = Duration::from_secs(20);

/// A server that ends with this value.
#[derive(Debug)]
pub struct Server {
    process: Child,
    port: u16,
    connection: BufReader<TcpStream>,
}

/// An error that OPA reports: class, row, column, message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// OPA's name of the class.
    pub code: String,
    /// The line, from 1.
    pub row: u64,
    /// The column, from 1.
    pub column: u64,
    /// The text.
    pub message: String,
}

impl Server {
    /// Starts the program for policies of one version.
    ///
    /// # Errors
    /// Where it does not start or does not answer.
    #[expect(clippy::disallowed_methods, reason = "a program of others starts in real time")]
    pub fn start(program: &str, version: Version) -> std::io::Result<Server> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["run", "--server", "--addr", &format!("127.0.0.1:{port}"), "--log-level", "error"]);
        command.arg("--disable-telemetry");
        if version == Version::V0 {
            command.arg("--v0-compatible");
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let until = Instant::now() + START;
        let mut connection = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(REPLY))?;
        connection.flush()?;
        Ok(Server { process, port, connection: BufReader::new(connection) })
    }

    /// Sends a request, and gives the status and the body of the reply.
    ///
    /// # Errors
    /// Where the connection ends, or the reply is not HTTP.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let port = self.port;
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {}\r\n\r\n", body.len());
        self.connection.get_mut().write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
        let status = self.line()?.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().map_err(|_| malformed())?,
                Some(("transfer-encoding", _)) => chunked = true,
                Some(_) => {}
                None => break,
            }
        }
        let mut out = Vec::new();
        if !chunked {
            out.resize(length, 0);
            self.connection.read_exact(&mut out)?;
        }
        while chunked {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| malformed())?;
            let mut part = vec![0; size];
            self.connection.read_exact(&mut part)?;
            self.line()?;
            out.extend(part);
            chunked = size > 0;
        }
        Ok((status, String::from_utf8_lossy(&out).into_owned()))
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.connection.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Replaces a document of data.
    ///
    /// # Errors
    /// Where the server does not take it.
    pub fn data(&mut self, path: &str, value: &Value) -> std::io::Result<()> {
        match self.call("PUT", &format!("/v1/data/{path}"), &value.to_json())? {
            (204 | 200, _) => Ok(()),
            (_, reply) => Err(std::io::Error::other(reply)),
        }
    }

    /// Replaces a module; gives what the server says against it.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn module(&mut self, name: &str, text: &str) -> std::io::Result<Vec<Refusal>> {
        match self.call("PUT", &format!("/v1/policies/{name}"), text)? {
            (200, _) => Ok(Vec::new()),
            (_, reply) => Ok(refusals(&reply)),
        }
    }

    /// Removes a module.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn remove(&mut self, name: &str) -> std::io::Result<()> {
        self.call("DELETE", &format!("/v1/policies/{name}"), "").map(drop)
    }

    /// The outcome of a document of data, such as `data.t.r1`.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn evaluate(&mut self, document: &str, input: &Value, strict: bool) -> std::io::Result<Outcome> {
        let path = document.replace('.', "/");
        let options = if strict { "?strict-builtin-errors=true" } else { "" };
        let body = format!("{{\"input\":{}}}", input.to_json());
        let (status, reply) = self.call("POST", &format!("/v1/{path}{options}"), &body)?;
        let reply = Value::from_json(&reply).map_err(std::io::Error::other)?;
        if status == 200 {
            return Ok(member(&reply, "result").map_or(Outcome::Undefined, |value| Outcome::Value(value.clone())));
        }
        let first = member(&reply, "errors").and_then(Value::as_array).and_then(|errors| errors.first());
        let error = first.unwrap_or(&reply);
        let text = |name| member(error, name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let place = member(error, "location");
        let own = place.filter(|place| member(place, "file").and_then(Value::as_str) == Some("t.rego"));
        let row = own.and_then(|place| member(place, "row")).and_then(Value::as_i64).unwrap_or(0).unsigned_abs();
        Ok(Outcome::Failed(Failure { code: text("code"), message: text("message"), row }))
    }
}

fn malformed() -> std::io::Error {
    std::io::ErrorKind::InvalidData.into()
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.as_object().and_then(|object| object.get_str(name))
}

fn refusals(reply: &str) -> Vec<Refusal> {
    let reply = Value::from_json(reply).unwrap_or_default();
    let text = |value: &Value, name: &str| member(value, name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let errors = member(&reply, "errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut out: Vec<Refusal> = errors
        .iter()
        .map(|error| {
            let place = member(error, "location");
            let at = |name| place.and_then(|place| member(place, name)).and_then(Value::as_i64).unwrap_or(0);
            Refusal {
                code: text(error, "code"),
                row: at("row").unsigned_abs(),
                column: at("col").unsigned_abs(),
                message: text(error, "message"),
            }
        })
        .collect();
    if out.is_empty() {
        out.push(Refusal { code: text(&reply, "code"), row: 0, column: 0, message: text(&reply, "message") });
    }
    out
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
