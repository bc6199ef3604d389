//! Files of an initramfs: a `cpio` archive of the form `newc`, or several, which may be compressed by gzip.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use crate::bytes::{Malformed, Reader};
use crate::hash::HashAlgorithm;

const STRUCTURE: &str = "initramfs";
const MAX_UNPACKED: usize = 1 << 30;
/// What is unpacked at once, in bytes.
const BUFFER: usize = 64 * 1024;
const MAX_FILES: usize = 200_000;
const MAX_NAME: usize = 4096;
const REGULAR: u32 = 0o100_000;
const KIND: u32 = 0o170_000;
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
const LAST: &str = "TRAILER!!!";

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile {
    /// Its path in the running system.
    pub path: String,
    /// The SHA-256 digest of its content, which IMA measures.
    pub sha256: Vec<u8>,
    /// Programs and libraries are measured by the kernel's common IMA policies, other files rarely.
    pub is_executable: bool,
}

pub(super) struct Initramfs;

impl Initramfs {
    /// The regular files with content. `None`: a part is compressed in another way than by gzip.
    ///
    /// # Errors
    /// An archive that ends early, or whose size or names exceed the limits (1 GiB, 200,000 files).
    pub(super) fn files(bytes: &[u8]) -> Result<Option<Vec<PackedFile>>, Malformed> {
        let (mut files, mut unpacked) = (Vec::new(), 0);
        let mut rest = archives(bytes, &mut files)?;
        // The kernel unpacks each of several compressed parts.
        while rest.starts_with(GZIP) {
            let (part, after) = gunzip(rest, MAX_UNPACKED - unpacked)?;
            unpacked += part.len();
            if !archives(&part, &mut files)?.is_empty() {
                return Ok(None);
            }
            rest = archives(after, &mut files)?;
        }
        Ok(rest.is_empty().then_some(files))
    }
}

const fn refusal(why: &'static str) -> Malformed {
    Malformed { structure: STRUCTURE, at: 0, why }
}

/// Reads archives, and returns what follows them. Between them there may be zeros.
fn archives<'a>(bytes: &'a [u8], files: &mut Vec<PackedFile>) -> Result<&'a [u8], Malformed> {
    let mut rest = bytes;
    loop {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = rest.get(zeros..).unwrap_or_default();
        if !rest.starts_with(b"07070") {
            return Ok(rest);
        }
        rest = archive(rest, files)?;
    }
}

/// Reads one archive up to its last entry.
fn archive<'a>(bytes: &'a [u8], files: &mut Vec<PackedFile>) -> Result<&'a [u8], Malformed> {
    let mut reader = Reader::new(STRUCTURE, bytes);
    let mut used = 0;
    loop {
        let head = reader.bytes(110)?;
        if !head.starts_with(b"070701") && !head.starts_with(b"070702") {
            return Err(reader.refusal("an entry is not of the form `newc`"));
        }
        let field = |index: usize| {
            let text = head.get(6 + 8 * index..14 + 8 * index).and_then(|text| std::str::from_utf8(text).ok());
            text.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or_else(|| refusal("a field is not a number"))
        };
        let length = |index| field(index).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        let (mode, size, name_size) = (field(1)?, length(6)?, length(11)?);
        if name_size == 0 || name_size > MAX_NAME {
            return Err(reader.refusal("a name is empty, or longer than 4,096 bytes"));
        }
        let name = reader.bytes(name_size)?;
        used += 110 + name_size;
        used += reader.bytes(padding(used))?.len();
        let content = reader.bytes(size)?;
        used += size;
        let name = name.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(|| reader.refusal("a name is not text that ends with a NUL byte"))?;
        if name == LAST {
            return Ok(bytes.get(used..).unwrap_or_default());
        }
        used += reader.bytes(padding(used))?.len();
        if mode & KIND == REGULAR && !content.is_empty() {
            if files.len() == MAX_FILES {
                return Err(reader.refusal("it has more than 200,000 files"));
            }
            files.push(PackedFile {
                path: format!("/{}", name.trim_start_matches("./").trim_start_matches('/')),
                sha256: HashAlgorithm::Sha256.digest([content]),
                is_executable: mode & 0o111 != 0,
            });
        }
    }
}

const fn padding(used: usize) -> usize {
    used.wrapping_neg() % 4
}

/// The content of a gzip member (RFC 1952), of at most `limit` bytes, and what follows the member.
fn gunzip(bytes: &[u8], limit: usize) -> Result<(Vec<u8>, &[u8]), Malformed> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const HEADER_CHECK: u8 = 2;
    let mut reader = Reader::new("gzip member", bytes);
    reader.bytes(3)?;
    let flags = reader.u8()?;
    reader.bytes(6)?;
    let mut used = 10;
    if flags & EXTRA != 0 {
        let length = usize::from(reader.u16_le()?);
        used += 2 + reader.bytes(length)?.len();
    }
    for _ in [NAME, COMMENT].iter().filter(|flag| flags & **flag != 0) {
        loop {
            used += 1;
            if reader.u8()? == 0 {
                break;
            }
        }
    }
    if flags & HEADER_CHECK != 0 {
        used += reader.bytes(2)?.len();
    }
    let packed = bytes.get(used..).unwrap_or_default();
    let damaged = || refusal("its compressed part is damaged, or larger than 1 GiB");
    let (content, length) = inflate_member(packed, limit).ok_or_else(damaged)?;
    // A checksum and the length, of four bytes each.
    let after = packed.get(length + 8..).ok_or_else(damaged)?;
    Ok((content, after))
}

/// The content of a deflate stream (RFC 1951), and how long the stream is.
fn inflate_member(packed: &[u8], limit: usize) -> Option<(Vec<u8>, usize)> {
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut content, mut used, mut buffer) = (Vec::new(), 0, vec![0; BUFFER]);
    loop {
        let step = inflate(&mut state, packed.get(used..)?, &mut buffer, MZFlush::None);
        used += step.bytes_consumed;
        content.extend_from_slice(buffer.get(..step.bytes_written)?);
        if content.len() > limit {
            return None;
        }
        match step.status {
            Ok(MZStatus::StreamEnd) => return Some((content, used)),
            Ok(_) if step.bytes_consumed + step.bytes_written > 0 => {}
            _ => return None,
        }
    }
}
