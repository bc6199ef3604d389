//! The log's binary form: `binary_runtime_measurements`, little-endian.

use super::entry::{IMA_PCR, ImaEntry, ImaLog, Template};
use crate::bytes::{Malformed, Reader};

pub(super) const MAX_LOG_BYTES: usize = 256 * 1024 * 1024;
const SHA1_BYTES: usize = 20;
/// The PCR's index and the digest, before the template's name.
const HEAD_BYTES: usize = 4 + SHA1_BYTES;
const LENGTH_BYTES: usize = 4;
const MAX_TEMPLATE_NAME: usize = 32;
const MAX_ENTRY: usize = 256 * 1024;

impl ImaLog {
    /// Reads a log of at most 256 MiB.
    ///
    /// # Errors
    /// A template that is not known here, another PCR than 10, an entry whose digest does not fit its data, or bytes
    /// that end inside an entry.
    pub fn parse_binary(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("IMA log", bytes);
        if bytes.len() > MAX_LOG_BYTES {
            return Err(reader.refusal("it is larger than 256 MiB"));
        }
        let mut entries = Vec::new();
        while !reader.is_empty() {
            entries.push(entry(&mut reader)?);
        }
        Ok(Self { entries })
    }
}

fn entry(reader: &mut Reader<'_>) -> Result<ImaEntry, Malformed> {
    if reader.u32_le()? != u32::from(IMA_PCR) {
        return Err(reader.refusal("an entry measures into another PCR than 10"));
    }
    let sha1 = reader.bytes(SHA1_BYTES)?;
    let name = reader.sized_le(MAX_TEMPLATE_NAME)?;
    let template = Template::of_name(name).ok_or_else(|| reader.refusal("an entry's template is not known here"))?;
    ImaEntry::new(template, sha1, reader.sized_le(MAX_ENTRY)?)
}

/// The entry with which a part of a log begins, and what follows it. `None`: the part ends inside the entry.
pub(super) fn first_entry(part: &[u8]) -> Result<Option<(ImaEntry, &[u8])>, Malformed> {
    if is_cut(part) {
        return Ok(None);
    }
    let mut reader = Reader::new("IMA log", part);
    let entry = entry(&mut reader)?;
    Ok(Some((entry, reader.rest())))
}

/// Whether the entry goes on after these bytes. A length beyond its bound does not: it is refused.
fn is_cut(part: &[u8]) -> bool {
    let length = |at: usize| {
        let bytes = part.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let Some(name) = length(HEAD_BYTES) else { return true };
    if name > MAX_TEMPLATE_NAME {
        return false;
    }
    let Some(data) = length(HEAD_BYTES + LENGTH_BYTES + name) else { return true };
    data <= MAX_ENTRY && part.len() < HEAD_BYTES + 2 * LENGTH_BYTES + name + data
}

/// How long an entry is.
pub(super) fn entry_bytes(entry: &ImaEntry) -> usize {
    HEAD_BYTES + 2 * LENGTH_BYTES + entry.template.name().len() + entry.data.len()
}
