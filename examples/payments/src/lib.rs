//! Two small services that know nothing of TLS, identities or policy: `payment-gateway` calls `transactions`. Each
//! stands behind a sidecar (`sekisho proxy`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

/// A byte stream to the other side.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Connects to `unix:/path` or `address:port`.
pub fn connect(address: &str) -> std::io::Result<Box<dyn Stream>> {
    Ok(match address.strip_prefix("unix:") {
        Some(path) => Box::new(UnixStream::connect(path)?),
        None => Box::new(TcpStream::connect(address)?),
    })
}

/// A message head: its first line, and its headers with names in lower case.
pub struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads one HTTP/1.1 head; `None` when the other side is done.
pub fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(Head { first: first.trim().to_owned(), headers }));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// Sends one request over its own connection; the status and the decision's id.
pub fn call(address: &str, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = connect(address)?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: transactions\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    stream.flush()?;
    let head = read_head(&mut BufReader::new(stream))?;
    let head = head.ok_or_else(|| std::io::Error::other("no answer"))?;
    let status = head.first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("no status"))?;
    Ok((status, head.header("x-sekisho-decision").unwrap_or_default().to_owned()))
}
