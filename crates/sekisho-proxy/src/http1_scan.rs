//! A second, strict reading of HTTP/1.1 framing, before the library's tolerant one (RFC 9112 §6–7, §11.2). Where the
//! two could differ the connection is refused: two lengths, bare line feeds, folded lines, blanks around a header's
//! colon, chunk extensions, trailers.

/// Longest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Longest line between chunks.
const MAX_CHUNK_LINE: usize = 32;

/// Why a byte stream is not one sequence of plain requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Framing {
    #[error("a line does not end in CR LF, or holds a control character")]
    LineEnd,
    #[error("the request's head is longer than 64 KiB")]
    HeadLength,
    #[error("a header line is folded, has no colon, or a blank before it")]
    HeaderLine,
    #[error("the message's length is given twice, or in a form that servers read differently")]
    Length,
    #[error("the body's chunks are not plain: digits, CR LF, data, CR LF, without extensions")]
    Chunk,
    #[error("trailers of a request do not pass, since no policy has judged them; send the same fields as headers")]
    Trailers,
    #[error("the request's target has a `#`; a fragment is not sent to a server (RFC 9112 §3.2)")]
    Fragment,
}

#[derive(Debug)]
enum State {
    /// The first bytes of the connection: perhaps HTTP/2.
    First,
    /// Between two requests.
    Start,
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    LastLine,
    /// HTTP/2, whose framing is binary.
    Binary,
}

/// Follows one connection from its first byte.
pub struct Scanner {
    state: State,
    line: Vec<u8>,
    /// Whether a whole head has passed.
    passed: bool,
    /// Bytes of the last feed that were not read, the one that was refused among them.
    unread: usize,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    pub const fn new() -> Self {
        Self { state: State::First, line: Vec::new(), passed: false, unread: 0 }
    }

    /// Whether no request has passed yet.
    pub const fn is_first(&self) -> bool {
        !self.passed
    }

    /// Whether a head has begun and is not whole.
    pub const fn is_in_head(&self) -> bool {
        !self.line.is_empty() && matches!(self.state, State::First | State::Head)
    }

    /// How many bytes of the last feed came after the last good one, if it was refused.
    pub const fn unread(&self) -> usize {
        self.unread
    }

    /// Reads on; an error is final.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Framing> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Binary => return Ok(()),
                State::Body(left) | State::ChunkData(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skipped as u64;
                    let done = *left == 0;
                    bytes = bytes.get(skipped..).unwrap_or_default();
                    if done {
                        self.state = if matches!(self.state, State::Body(_)) { State::Start } else { State::ChunkEnd };
                    }
                    continue;
                }
                State::First if self.line.is_empty() && !PREFACE.starts_with(&[byte]) => {
                    self.state = State::Start;
                    continue;
                }
                State::Start | State::Head => {
                    self.state = State::Head;
                    let taken = self.head(bytes)?;
                    bytes = bytes.get(taken..).unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            self.line.push(byte);
            self.unread = bytes.len();
            bytes = rest;
            self.step(byte)?;
        }
        Ok(())
    }

    /// Takes what belongs to a head, and returns how many bytes that is. A head that comes whole is read where it is.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Framing> {
        let before = self.line.len();
        if before > 0 {
            self.line.extend(bytes.iter().take(MAX_HEAD + 2 - before.min(MAX_HEAD)));
        }
        let text = if before > 0 { self.line.as_slice() } else { bytes };
        match head_end(text.get(..MAX_HEAD + 1).unwrap_or(text), before)? {
            Some(end) => {
                self.state = after_head(text.get(..end).unwrap_or_default())?;
                self.passed = true;
                self.line.clear();
                Ok(end - before)
            }
            None if text.len() > MAX_HEAD => Err(Framing::HeadLength),
            None => {
                if before == 0 {
                    self.line.extend(bytes);
                }
                Ok(bytes.len())
            }
        }
    }

    /// One more byte in `line`.
    fn step(&mut self, byte: u8) -> Result<(), Framing> {
        match self.state {
            State::First if self.line.len() <= PREFACE.len() && PREFACE.starts_with(&self.line) => {
                if self.line.len() == PREFACE.len() {
                    self.state = State::Binary;
                }
                return Ok(());
            }
            State::First => {
                self.state = State::Head;
                // What looked like HTTP/2 so far is read again.
                let head = std::mem::take(&mut self.line);
                let taken = self.head(&head)?;
                return if taken < head.len() { Err(Framing::HeaderLine) } else { Ok(()) };
            }
            State::LastLine if self.line.len() == 1 && byte != b'\r' => return Err(Framing::Trailers),
            _ => {}
        }
        if byte != b'\n' {
            return if self.line.len() > MAX_CHUNK_LINE { Err(Framing::HeadLength) } else { Ok(()) };
        }
        match self.state {
            State::ChunkSize => {
                let size = chunk_size(&std::mem::take(&mut self.line)).ok_or(Framing::Chunk)?;
                self.state = if size == 0 { State::LastLine } else { State::ChunkData(size) };
            }
            State::ChunkEnd | State::LastLine => {
                if std::mem::take(&mut self.line) != b"\r\n" {
                    return Err(Framing::Chunk);
                }
                self.state = if matches!(self.state, State::ChunkEnd) { State::ChunkSize } else { State::Start };
            }
            State::First | State::Start | State::Head | State::Body(_) | State::ChunkData(_) | State::Binary => {}
        }
        Ok(())
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let plain = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

/// Where a head ends whose lines before `from` were read, if it does.
fn head_end(text: &[u8], from: usize) -> Result<Option<usize>, Framing> {
    let mut at = from;
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
        at += found + 1;
        let so_far = text.get(..at).unwrap_or_default();
        if so_far.ends_with(b"\r\n\r\n") {
            return Ok(Some(at));
        }
        if !so_far.ends_with(b"\r\n") || so_far.len() == 2 {
            return Err(Framing::LineEnd);
        }
    }
    Ok(None)
}

/// What follows a whole head.
fn after_head(head: &[u8]) -> Result<State, Framing> {
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(Framing::LineEnd)?;
    let mut lines = text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if lines.clone().any(|line| line.iter().any(|b| *b == b'\r' || *b == 0)) {
        return Err(Framing::LineEnd);
    }
    // The library drops what follows it, and another server may not.
    if lines.next().is_some_and(|line| line.contains(&b'#')) {
        return Err(Framing::Fragment);
    }
    let (mut length, mut encoding, mut twice) = (None, None, false);
    for line in lines {
        let colon = line.iter().position(|b| *b == b':').ok_or(Framing::HeaderLine)?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err(Framing::HeaderLine);
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            twice |= length.replace(value).is_some();
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            twice |= encoding.replace(value).is_some();
        }
    }
    match (length, encoding) {
        (None, None) => Ok(State::Start),
        (None, Some(encoding)) if !twice && encoding.eq_ignore_ascii_case(b"chunked") => Ok(State::ChunkSize),
        (Some(length), None) if !twice && (1..=18).contains(&length.len()) && length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()).ok_or(Framing::Length)?;
            Ok(if length == 0 { State::Start } else { State::Body(length) })
        }
        _ => Err(Framing::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<(), Framing> {
        // Whole, and byte by byte: where reads end makes no difference.
        let whole = Scanner::new().feed(text.as_bytes());
        let mut scanner = Scanner::new();
        let single = text.as_bytes().chunks(1).try_for_each(|byte| scanner.feed(byte));
        assert_eq!(whole, single, "{text:?}");
        whole
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(scan(&[get, post, chunked, get, chunked, post, get].concat()), Ok(()));
        // It begins as HTTP/2 does.
        assert_eq!(scan(&[&post.replace("POST", "PRI"), get].concat()), Ok(()));
        assert_eq!(scan("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n\0garbage"), Ok(()));
    }

    #[test]
    fn what_two_servers_read_differently_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\r\n folded: c\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
            "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a?b=#c HTTP/1.1\r\nhost: a\r\n\r\n",
            // HTTP/2 begins a connection or does not come at all: the scan goes on.
            "GET / HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\nhost: a\n\n",
            "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\ntrailer: x\r\n\r\n",
        ] {
            assert!(scan(bad).is_err(), "{bad:?}");
        }
        assert_eq!(scan("GET /v1/x#/../admin HTTP/1.1\r\nhost: a\r\n\r\n"), Err(Framing::Fragment));
        let trailers = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\ntrailer: x\r\n\r\n";
        assert_eq!(scan(trailers), Err(Framing::Trailers));
        let mut scanner = Scanner::new();
        scanner.feed(trailers.as_bytes()).unwrap_err();
        assert_eq!(scanner.unread(), "trailer: x\r\n\r\n".len());
        assert_eq!(scan(&format!("GET / HTTP/1.1\r\na: {}", "x".repeat(70_000))), Err(Framing::HeadLength));
    }
}
