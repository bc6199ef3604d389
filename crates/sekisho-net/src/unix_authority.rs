//! gRPC's C core, and so its clients in Python, C++, Ruby and others, names a Unix socket in `:authority` with its path
//! percent-encoded (`tmp%2Fagent.sock`). That is not an authority (RFC 3986 §3.2), and the HTTP/2 library resets the
//! stream. The name has no meaning on a Unix socket, so each `%` of it is replaced by a `-` before it is parsed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// The longest frame that is parsed; the library refuses longer ones.
const MAX_FRAME: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParseState {
    Preface,
    Frame,
    /// Inside a frame that is passed on as it is, with so many bytes to come.
    Passing(usize),
    /// Not HTTP/2, or not readable as such: for the library to judge.
    Other,
}

/// A stream whose HTTP/2 heads are rewritten while they are read.
pub(crate) struct UnixAuthority<S> {
    inner: S,
    at: ParseState,
    /// Read, and not yet looked at.
    raw: Vec<u8>,
    /// Looked at, and not yet passed on: up to `passed` it was.
    ready: Vec<u8>,
    passed: usize,
}

impl<S> UnixAuthority<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, at: ParseState::Preface, raw: vec![], ready: vec![], passed: 0 }
    }

    /// Moves what is whole from `raw` to `ready`.
    fn look(&mut self) {
        loop {
            let take = match self.at {
                ParseState::Preface if self.raw.len() >= PREFACE.len() => {
                    self.at = if self.raw.starts_with(PREFACE) { ParseState::Frame } else { ParseState::Other };
                    continue;
                }
                ParseState::Preface if PREFACE.starts_with(&self.raw) => return,
                ParseState::Preface => {
                    self.at = ParseState::Other;
                    continue;
                }
                ParseState::Frame => match frame(&mut self.raw) {
                    Some((take, then)) => {
                        self.at = then;
                        take
                    }
                    None => return,
                },
                ParseState::Passing(left) => {
                    let take = left.min(self.raw.len());
                    self.at = if take == left { ParseState::Frame } else { ParseState::Passing(left - take) };
                    take
                }
                ParseState::Other => self.raw.len(),
            };
            if take == 0 && !matches!(self.at, ParseState::Frame) {
                return;
            }
            self.ready.extend(self.raw.drain(..take));
            if self.raw.is_empty() {
                return;
            }
        }
    }
}

/// What a service would read of bytes that a client wrote.
pub fn rewrite_unix_authority(written: &[u8]) -> Vec<u8> {
    let mut stream = UnixAuthority { raw: written.to_vec(), ..UnixAuthority::new(()) };
    stream.look();
    // ParseState the end what is not whole passes as it is.
    stream.ready.append(&mut stream.raw);
    stream.ready
}

/// Bytes of a frame that can be passed on, and what follows; `None` while a head is not whole.
fn frame(raw: &mut [u8]) -> Option<(usize, ParseState)> {
    // The preface stands before the first frame.
    let skip = if raw.starts_with(PREFACE) { PREFACE.len() } else { 0 };
    let head = raw.get(skip..skip + FRAME_HEAD)?;
    let [a, b, c, kind, flags, ..] = *head else { return None };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let whole = skip + FRAME_HEAD + length;
    if kind != 1 || length > MAX_FRAME {
        return Some((skip + FRAME_HEAD, ParseState::Passing(length)));
    }
    let payload = raw.get_mut(skip + FRAME_HEAD..whole)?;
    // Padding and priority stand before the block (RFC 9113 §6.2).
    let before = usize::from(flags & 0x08 != 0) + if flags & 0x20 == 0 { 0 } else { 5 };
    payload.get_mut(before..).and_then(rewrite);
    Some((whole, ParseState::Frame))
}

/// Searches a header block (RFC 7541 §6) for a literal `:authority` in plain text, and rewrites its value.
fn rewrite(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    loop {
        let first = *block.get(at)?;
        let prefix = match first {
            // Indexed; and a change of the table's size.
            0x80.. => 7,
            0x20..0x40 => 5,
            // Literals: with indexing, without, never.
            0x40..0x80 => 6,
            _ => 4,
        };
        let (index, next) = integer(block, at, prefix)?;
        at = next;
        if matches!(prefix, 7 | 5) {
            continue;
        }
        let mut is_authority = index == 1;
        if index == 0 {
            let (range, plain) = string(block, &mut at)?;
            is_authority = plain && block.get(range)? == b":authority";
        }
        let (range, plain) = string(block, &mut at)?;
        if is_authority {
            let value = block.get_mut(range).filter(|_| plain)?;
            value.iter_mut().filter(|byte| **byte == b'%').for_each(|byte| *byte = b'-');
            return Some(());
        }
    }
}

/// An integer with a prefix of so many bits (§5.1), and where it ends.
fn integer(block: &[u8], at: usize, prefix: u8) -> Option<(usize, usize)> {
    let mask = (1u16 << prefix) as usize - 1;
    let mut value = usize::from(*block.get(at)?) & mask;
    let mut at = at + 1;
    if value < mask {
        return Some((value, at));
    }
    for shift in (0..28).step_by(7) {
        let byte = *block.get(at)?;
        at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

/// Where a string literal stands (§5.2), and whether it is plain; `at` moves behind it.
fn string(block: &[u8], at: &mut usize) -> Option<(std::ops::Range<usize>, bool)> {
    let plain = *block.get(*at)? & 0x80 == 0;
    let (length, start) = integer(block, *at, 7)?;
    let end = start.checked_add(length).filter(|end| *end <= block.len())?;
    *at = end;
    Some((start..end, plain))
}

impl<S: AsyncRead + Unpin> AsyncRead for UnixAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let waiting = this.ready.get(this.passed..).unwrap_or_default();
            if !waiting.is_empty() {
                let count = waiting.len().min(buffer.remaining());
                buffer.put_slice(waiting.get(..count).unwrap_or_default());
                this.passed += count;
                if this.passed == this.ready.len() {
                    this.ready.clear();
                    this.passed = 0;
                }
                return Poll::Ready(Ok(()));
            }
            let mut space = [0u8; 4096];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                // The end: what was held back is for the library to judge.
                this.at = ParseState::Other;
                this.ready.append(&mut this.raw);
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.raw.extend_from_slice(read.filled());
            this.look();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UnixAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn through(bytes: &[u8], step: usize) -> Vec<u8> {
        let (mut to, from) = tokio::io::duplex(64);
        let bytes = bytes.to_vec();
        let write = tokio::spawn(async move {
            for part in bytes.chunks(step) {
                tokio::io::AsyncWriteExt::write_all(&mut to, part).await.unwrap();
            }
        });
        let mut out = vec![];
        UnixAuthority::new(from).read_to_end(&mut out).await.unwrap();
        write.await.unwrap();
        out
    }

    #[tokio::test]
    async fn only_the_authority_is_rewritten_for_any_segmentation() {
        let head = |block: &[u8]| [&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1], block].concat();
        let data = [&[0, 0, 4, 0, 1, 0, 0, 0, 1][..], b"a%2F"].concat();
        let literal = |authority: &str| {
            head(
                &[b"\x83\x40\x05:path\x04/%2F\x40\x0a:authority\x0e", authority.as_bytes(), b"\x00\x01a\x03%2F"]
                    .concat(),
            )
        };
        let indexed = |authority: &str| head(&[b"\x3f\xe1\x1f\x41\x0e", authority.as_bytes()].concat());
        let make = |authority: &str| [PREFACE, &[0; 9], &literal(authority), &data, &indexed(authority)].concat();
        let (sent, expected) = (make("tmp%2Fcap.sock"), make("tmp-2Fcap.sock"));
        for step in [1, 3, 7, 50, 1000] {
            assert_eq!(through(&sent, step).await, expected, "{step} bytes at a time");
        }
        for other in [&b"GET /a%2F HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/1", b"", b"P"] {
            assert_eq!(through(other, 1).await, other);
        }
    }
}
