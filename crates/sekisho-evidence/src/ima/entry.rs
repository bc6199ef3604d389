//! Entries of an IMA log, and the templates that say what an entry holds.

use crate::bytes::{Malformed, Reader};
use crate::hash::HashAlgorithm;

/// The PCR into which the kernel measures files.
pub const IMA_PCR: u8 = 10;

const MAX_ALGORITHM_NAME: usize = 32;
const MAX_DIGEST: usize = 64;
const MAX_PATH: usize = 16 * 1024;
const MAX_FIELD: usize = 64 * 1024;

/// The templates whose fields are known here. Others are refused: what they measured is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    Ng,
    Sig,
    Buf,
    ModSig,
    NgV2,
    SigV2,
}

impl Template {
    const ALL: [Self; 6] = [Self::Ng, Self::Sig, Self::Buf, Self::ModSig, Self::NgV2, Self::SigV2];

    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().as_bytes() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ng => "ima-ng",
            Self::Sig => "ima-sig",
            Self::Buf => "ima-buf",
            Self::ModSig => "ima-modsig",
            Self::NgV2 => "ima-ngv2",
            Self::SigV2 => "ima-sigv2",
        }
    }

    /// Fields after the digest and the path.
    pub(super) const fn more_fields(self) -> usize {
        match self {
            Self::Ng | Self::NgV2 => 0,
            Self::Sig | Self::Buf | Self::SigV2 => 1,
            Self::ModSig => 3,
        }
    }

    const fn has_digest_type(self) -> bool {
        matches!(self, Self::NgV2 | Self::SigV2)
    }
}

/// A file's digest: its algorithm by the kernel's name, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    pub algorithm: String,
    pub bytes: Vec<u8>,
}

/// One measured file, buffer or policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaEntry {
    pub template: Template,
    pub digest: FileDigest,
    /// The path that was opened, or the measured object's name. A claim of the kernel at that time, not an identity.
    pub path: String,
    /// The kernel could not say what was measured: the file was written while it was measured, or was open for
    /// writing.
    pub is_violation: bool,
    /// The bytes that PCR 10 is extended with the digest of.
    pub(super) data: Vec<u8>,
    /// SHA-1 of the data, as the log's head has it; zeros for a violation.
    pub(super) sha1: Vec<u8>,
}

/// A whole log, in the order of its measurements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImaLog {
    pub entries: Vec<ImaEntry>,
}

impl ImaEntry {
    /// Checks the head against the data, and reads the data's fields.
    pub(super) fn new(template: Template, sha1: &[u8], data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("IMA template data", data);
        let digest = file_digest(&mut reader, template)?;
        let path = reader.sized_le(MAX_PATH)?;
        let path = path.strip_suffix(&[0]).ok_or_else(|| reader.refusal("the path does not end with a NUL byte"))?;
        // A file's name may be any bytes, and any user may choose it. What was measured is the data as it is.
        let path = String::from_utf8_lossy(path).into_owned();
        for _ in 0..template.more_fields() {
            reader.sized_le(MAX_FIELD)?;
        }
        reader.finish()?;
        let is_violation = sha1.iter().all(|byte| *byte == 0);
        if !is_violation && HashAlgorithm::Sha1.digest([data]) != sha1 {
            return Err(reader.refusal("its digest is not that of its data"));
        }
        Ok(Self { template, digest, path, is_violation, data: data.to_vec(), sha1: sha1.to_vec() })
    }
}

/// `algorithm:` and NUL, then the digest; in templates of version 2 a type stands before it.
fn file_digest(reader: &mut Reader<'_>, template: Template) -> Result<FileDigest, Malformed> {
    let field = reader.sized_le(2 * MAX_ALGORITHM_NAME + 3 + MAX_DIGEST)?;
    let split = field.iter().position(|byte| *byte == 0);
    let (name, bytes) = split
        .and_then(|at| Some((field.get(..at)?, field.get(at + 1..)?)))
        .ok_or_else(|| reader.refusal("the digest does not name its algorithm"))?;
    let name = name.strip_suffix(b":").and_then(|name| std::str::from_utf8(name).ok());
    let name = match (name, template.has_digest_type()) {
        (Some(name), true) => name.split_once(':').map(|(_, algorithm)| algorithm),
        (name, false) => name,
        (None, true) => None,
    };
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let name = name.filter(|name| (1..=MAX_ALGORITHM_NAME).contains(&name.len())).filter(is_name);
    let algorithm = name.ok_or_else(|| reader.refusal("the digest's algorithm has no proper name"))?.to_owned();
    if HashAlgorithm::of_name(&algorithm).is_some_and(|known| known.digest_len() != bytes.len()) {
        return Err(reader.refusal("the digest has not the length of its algorithm"));
    }
    Ok(FileDigest { algorithm, bytes: bytes.to_vec() })
}
