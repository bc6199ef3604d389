//! The log's binary form: `binary_runtime_measurements`, little-endian.

use super::IMA_PCR;
use super::entry::{ImaEntry, ImaLog, Template};
use crate::bytes::{Malformed, Reader};

pub(super) const MAX_LOG_BYTES: usize = 256 * 1024 * 1024;
const SHA1_BYTES: usize = 20;
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
            if reader.u32_le()? != u32::from(IMA_PCR) {
                return Err(reader.refusal("an entry measures into another PCR than 10"));
            }
            let sha1 = reader.bytes(SHA1_BYTES)?;
            let name = reader.sized_le(MAX_TEMPLATE_NAME)?;
            let template =
                Template::of_name(name).ok_or_else(|| reader.refusal("an entry's template is not known here"))?;
            entries.push(ImaEntry::new(template, sha1, reader.sized_le(MAX_ENTRY)?)?);
        }
        Ok(Self { entries })
    }
}
