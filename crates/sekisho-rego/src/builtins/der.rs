//! PEM blocks and the little of DER that keys need.

use base64::Engine;

use super::encoding::STANDARD;

/// A block of PEM and the text after it.
pub(super) struct Pem<'a> {
    pub(super) label: &'a str,
    pub(super) bytes: Vec<u8>,
    pub(super) rest: &'a str,
}

/// The first block of a text.
pub(super) fn pem(text: &str) -> Option<Pem<'_>> {
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (label, body) = after.split_once("-----")?;
    let end = format!("-----END {label}-----");
    let (body, rest) = body.split_once(end.as_str())?;
    // Headers as of RFC 1421 end with an empty line.
    let body = match body.contains(':') {
        true => body.split_once("\n\n").or_else(|| body.split_once("\r\n\r\n"))?.1,
        false => body,
    };
    let plain: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
    Some(Pem { label, bytes: STANDARD.decode(plain).ok()?, rest })
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// Reads elements of DER one after the other.
pub(super) struct Der<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Der<'a> {
    /// The tag and the content of the next element.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.rest.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (size, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0_usize, |size, byte| size << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(size)?;
        self.rest = rest;
        Some((*tag, content))
    }

    /// The content of the next element if it has a tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.rest;
        match self.next() {
            Some((found, content)) if found == tag => Some(content),
            _ => {
                self.rest = before;
                None
            }
        }
    }

    /// The content of the next element as a reader.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.take(tag).map(|rest| Der { rest })
    }

    /// The bytes of a positive integer without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.take(INTEGER).map(trimmed)
    }
}

/// Big-endian bytes without zeros before them.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// An element of DER.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let size = content.len().to_be_bytes();
    let size = trimmed(&size);
    match size {
        [] => out.push(0),
        [small] if *small < 0x80 => out.push(*small),
        bytes => {
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

/// A positive integer of DER.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = trimmed(bytes);
    let sign: &[u8] = if bytes.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    element(INTEGER, &[sign, bytes].concat())
}
