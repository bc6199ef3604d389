//! Reads PE/COFF images as firmware does: their sections, and the digest that it measures (Authenticode).

use crate::bytes::{Malformed, Reader};
use crate::hash::HashAlgorithm;

const STRUCTURE: &str = "PE image";
/// The longest image that is read. A unified kernel image has 20 to 200 MiB.
const MAX_BYTES: usize = 1 << 30;
const MAX_SECTIONS: u16 = 96;
/// Where the headers' parts stand, from the start of the optional header.
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const CERTIFICATE_TABLE: u32 = 4;

/// One section: its bytes in the file, and how many it has in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'a> {
    pub name: &'a str,
    raw: &'a [u8],
    at: usize,
    size: usize,
}

impl<'a> Section<'a> {
    /// What it holds in memory.
    ///
    /// # Errors
    /// A section that is longer in memory than in the file: it holds no content, only space.
    pub(super) fn content(&self) -> Result<&'a [u8], Malformed> {
        self.raw.get(..self.size).ok_or_else(|| refusal(self.at, "a section with content is longer than its bytes"))
    }
}

/// A parsed image.
#[derive(Debug)]
pub(super) struct PeImage<'a> {
    bytes: &'a [u8],
    headers: usize,
    checksum: usize,
    /// Where the directory's entry of the certificate table stands, and how long that table is.
    certificates: Option<(usize, usize)>,
    pub sections: Vec<Section<'a>>,
}

const fn refusal(at: usize, why: &'static str) -> Malformed {
    Malformed { structure: STRUCTURE, at, why }
}

fn from(bytes: &[u8], at: usize) -> Result<Reader<'_>, Malformed> {
    let rest = bytes.get(at..).ok_or_else(|| refusal(at, "it ends early"))?;
    Ok(Reader::new(STRUCTURE, rest))
}

fn number(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl<'a> PeImage<'a> {
    /// Reads an image of at most 1 GiB and 96 sections.
    ///
    /// # Errors
    /// No PE image, or one whose parts lie outside the file.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_BYTES {
            return Err(refusal(0, "it is larger than 1 GiB"));
        }
        if !bytes.starts_with(b"MZ") {
            return Err(refusal(0, "it does not begin with `MZ`"));
        }
        let start = number(from(bytes, 0x3c)?.u32_le()?);
        let mut reader = from(bytes, start)?;
        if reader.bytes(4)? != b"PE\0\0" {
            return Err(refusal(start, "it has no PE signature"));
        }
        reader.bytes(2)?;
        let count = reader.u16_le()?;
        reader.bytes(12)?;
        let optional_size = usize::from(reader.u16_le()?);
        if count == 0 || count > MAX_SECTIONS {
            return Err(refusal(start, "it has no section, or more than 96"));
        }
        let optional = start + 24;
        let headers = number(from(bytes, optional + SIZE_OF_HEADERS)?.u32_le()?);
        let certificates = certificates(bytes, optional)?;
        let table = optional + optional_size;
        if headers > bytes.len() || headers < table + 40 * usize::from(count) {
            return Err(refusal(optional + SIZE_OF_HEADERS, "the headers do not end after the section table"));
        }
        let sections = (0..usize::from(count)).map(|index| section(bytes, table + 40 * index));
        let sections = sections.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { bytes, headers, checksum: optional + CHECKSUM, certificates, sections })
    }

    /// The section of this name. Two would leave open which one is used.
    pub(super) fn section(&self, name: &str) -> Result<Option<Section<'a>>, Malformed> {
        let mut found = self.sections.iter().filter(|section| section.name == name);
        match (found.next(), found.next()) {
            (Some(_), Some(other)) => Err(refusal(other.at, "it has two sections of one name")),
            (first, _) => Ok(first.copied()),
        }
    }

    /// Whether it has a signature. Whose it is, and whether it fits, is the firmware's to judge.
    pub(super) fn is_signed(&self) -> bool {
        self.certificates.is_some_and(|(_, size)| size > 0)
    }

    /// The Authenticode digest (Windows Authenticode Portable Executable Signature Format): everything but the
    /// checksum, the certificate table and its entry in the directory, sections in the order of the file.
    ///
    /// # Errors
    /// Sections and certificates that claim more bytes than the file has.
    pub(super) fn authenticode(&self, bank: HashAlgorithm) -> Result<Vec<u8>, Malformed> {
        let part = |from: usize, to: usize| {
            self.bytes.get(from..to).ok_or_else(|| refusal(from, "a part that is measured lies outside the file"))
        };
        let mut parts = vec![part(0, self.checksum)?];
        let certificate_bytes = match self.certificates {
            Some((entry, size)) => {
                parts.push(part(self.checksum + 4, entry)?);
                parts.push(part(entry + 8, self.headers)?);
                size
            }
            None => {
                parts.push(part(self.checksum + 4, self.headers)?);
                0
            }
        };
        let mut sections: Vec<_> = self.sections.iter().filter(|section| !section.raw.is_empty()).collect();
        sections.sort_by_key(|section| section.at);
        parts.extend(sections.iter().map(|section| section.raw));
        let hashed = sections.iter().fold(self.headers, |sum, section| sum.saturating_add(section.raw.len()));
        let end = self.bytes.len().checked_sub(certificate_bytes);
        let end = end.ok_or_else(|| refusal(self.bytes.len(), "its certificates are longer than the file"))?;
        parts.push(part(hashed, end)?);
        Ok(bank.digest(parts))
    }
}

/// The entry of the certificate table, if the directory has one.
fn certificates(bytes: &[u8], optional: usize) -> Result<Option<(usize, usize)>, Malformed> {
    let directory = match from(bytes, optional)?.u16_le()? {
        0x10b => optional + 96,
        0x20b => optional + 112,
        _ => return Err(refusal(optional, "it is neither PE32 nor PE32+")),
    };
    let entries = from(bytes, directory - 4)?.u32_le()?;
    if entries <= CERTIFICATE_TABLE {
        return Ok(None);
    }
    let entry = directory + 8 * number(CERTIFICATE_TABLE);
    let mut reader = from(bytes, entry)?;
    let (at, size) = (number(reader.u32_le()?), number(reader.u32_le()?));
    // Its place is counted from the file's start, and it is the last thing in the file.
    if size != 0 && at.checked_add(size) != Some(bytes.len()) {
        return Err(refusal(entry, "its certificates are not at the end of the file"));
    }
    Ok(Some((entry, size)))
}

fn section(bytes: &[u8], at: usize) -> Result<Section<'_>, Malformed> {
    let mut reader = from(bytes, at)?;
    let name = reader.bytes(8)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| refusal(at, "a section's name is not text"))?;
    let size = number(reader.u32_le()?);
    reader.bytes(4)?;
    let (raw_size, raw_at) = (number(reader.u32_le()?), number(reader.u32_le()?));
    let end = raw_at.checked_add(raw_size);
    let raw = if raw_size == 0 { Some(&[][..]) } else { end.and_then(|end| bytes.get(raw_at..end)) };
    let raw = raw.ok_or_else(|| refusal(at, "a section lies outside the file"))?;
    Ok(Section { name, raw, at: raw_at, size })
}
