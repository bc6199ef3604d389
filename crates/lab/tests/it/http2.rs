//! HTTP/2 frames written by hand (RFC 9113), to send what no library would.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The connection preface and empty settings.
pub fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

/// Settings of a peer that takes no byte of an answer's body (RFC 9113 §6.5.2).
pub fn no_window() -> Vec<u8> {
    frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])
}

/// Literal fields without indexing and without Huffman coding (RFC 7541 §6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

pub fn headers(stream: u32, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
    frame(1, 4 | u8::from(ends), stream, &block(headers))
}

/// A head that is to be continued.
pub fn open_headers(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(1, 0, stream, &block(headers))
}

pub fn continuation(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(9, 0, stream, payload)
}

pub fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(0, 0, stream, payload)
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8u32.to_be_bytes())
}

/// How the first request was answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// The stream or the connection was closed instead.
    Closed,
}

/// Reads until stream 1 is answered or closed.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let read = async {
        let mut head = [0u8; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).await.is_err() {
                break;
            }
            match head[3] {
                // The status stands first; the static table has 200 at 8 and 400 at 12 (RFC 7541, appendix A).
                1 => return Answer::Status(if payload.first() == Some(&0x88) { 200 } else { 400 }),
                3 | 7 => return Answer::Closed,
                _ => {}
            }
        }
        Answer::Closed
    };
    tokio::time::timeout(Duration::from_secs(15), read).await.unwrap_or(Answer::Closed)
}
