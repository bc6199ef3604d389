//! A small DER writer (ITU-T X.690) for the few shapes that a certificate has.
//!
//! We write certificates ourselves because the bytes to be signed are hashed into the ledger before they
//! are signed; see `docs/decisions/0003-own-certificate-writer.md`.

use sekisho_types::UnixTime;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Tag, length and content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    of(tag, &[content])
}

/// A constructed value of the given parts, each copied once.
pub(crate) fn of(tag: u8, parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - zeros) as u8);
        out.extend(bytes.iter().skip(zeros));
    }
    parts.iter().for_each(|part| out.extend_from_slice(part.as_ref()));
    out
}

pub(crate) fn sequence(parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    of(SEQUENCE, parts)
}

/// An unsigned integer from big-endian bytes, in minimal form.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(INTEGER, &content)
}

/// A signed integer, in minimal form.
pub(crate) fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let redundant = bytes
        .windows(2)
        .take_while(|pair| matches!(pair, [0, b] if b & 0x80 == 0) || matches!(pair, [0xff, b] if b & 0x80 != 0))
        .count();
    tlv(INTEGER, bytes.get(redundant..).unwrap_or(&bytes))
}

pub(crate) fn boolean(value: bool) -> Vec<u8> {
    tlv(BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// An object identifier; every arc fits 32 bits.
pub(crate) fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    let (first, rest) = match arcs {
        [a, b, rest @ ..] => (a * 40 + b, rest),
        _ => (0, arcs),
    };
    for arc in std::iter::once(&first).chain(rest) {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut left = arc >> 7;
        while left > 0 {
            groups.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    tlv(0x06, &content)
}

pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    let mut content = vec![0];
    content.extend_from_slice(bytes);
    tlv(0x03, &content)
}

/// Named bits, most significant first, trailing zero bits dropped (X.690 §11.2.2).
pub(crate) fn named_bits(bits: &[u8]) -> Vec<u8> {
    let Some(&highest) = bits.iter().max() else {
        return tlv(0x03, &[0]);
    };
    let mut bytes = vec![0u8; usize::from(highest / 8) + 1];
    for bit in bits {
        if let Some(byte) = bytes.get_mut(usize::from(bit / 8)) {
            *byte |= 0x80 >> (bit % 8);
        }
    }
    let unused = 7 - highest % 8;
    bytes.insert(0, unused);
    tlv(0x03, &bytes)
}

/// UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5).
pub(crate) fn time(at: UnixTime) -> Vec<u8> {
    let (year, month, day, hour, minute, second) = at.civil();
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    if (1950..2050).contains(&year) {
        tlv(0x17, format!("{:02}{rest}", year % 100).as_bytes())
    } else {
        tlv(0x18, format!("{year:04}{rest}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_encodings() {
        assert_eq!(hex::encode(oid(&[2, 5, 29, 17])), "0603551d11");
        assert_eq!(hex::encode(oid(&[1, 2, 840, 10045, 4, 3, 2])), "06082a8648ce3d040302");
        assert_eq!(hex::encode(unsigned(&[0, 0x80])), "02020080");
        assert_eq!(hex::encode(integer(-1)), "0201ff");
        assert_eq!(hex::encode(integer(128)), "02020080");
        assert_eq!(hex::encode(integer(0)), "020100");
        assert_eq!(hex::encode(named_bits(&[0])), "03020780");
        assert_eq!(hex::encode(named_bits(&[5, 6])), "03020106");
        assert_eq!(tlv(SEQUENCE, &[0; 200]).get(..3), Some(&[0x30, 0x81, 200][..]));
        assert_eq!(tlv(SEQUENCE, &[0; 300]).get(..5), Some(&[0x30, 0x82, 1, 44, 0][..]));
        assert_eq!(hex::encode(sequence(&[boolean(true), vec![], integer(0)])), "30060101ff020100");
        assert_eq!(time(UnixTime::from_seconds(0)).get(2..), Some(&b"700101000000Z"[..]));
    }
}
