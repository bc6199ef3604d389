//! A small DER writer (ITU-T X.690) for the few shapes that a certificate has.
//!
//! We write certificates ourselves because the bytes to be signed are hashed into the ledger before they
//! are signed; see `docs/decisions/0003-own-certificate-writer.md`. Values are written one behind the other into
//! one buffer: a value's length is set when its content is there.

use sekisho_types::UnixTime;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Values, one behind the other.
pub(crate) struct Der(Vec<u8>);

/// What `write` writes.
pub(crate) fn written(write: impl FnOnce(&mut Der)) -> Vec<u8> {
    written_in(0, write)
}

/// The same, of about so many bytes.
pub(crate) fn written_in(bytes: usize, write: impl FnOnce(&mut Der)) -> Vec<u8> {
    let mut der = Der(Vec::with_capacity(bytes));
    write(&mut der);
    der.0
}

impl Der {
    /// Values that were written before.
    pub(crate) fn raw(&mut self, values: &[u8]) {
        self.0.extend_from_slice(values);
    }

    /// Tag, length and content.
    pub(crate) fn tlv(&mut self, tag: u8, content: &[u8]) {
        self.of(tag, |der| der.raw(content));
    }

    /// A constructed value, whose content `write` writes.
    pub(crate) fn of(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.0.extend([tag, 0]);
        let begin = self.0.len();
        write(self);
        let length = self.0.len() - begin;
        if length >= 0x80 {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let long = [0x80 | (bytes.len() - zeros) as u8].into_iter().chain(bytes.into_iter().skip(zeros));
            self.0.splice(begin - 1..begin, long);
        } else if let Some(short) = self.0.get_mut(begin - 1) {
            *short = length as u8;
        }
    }

    pub(crate) fn sequence(&mut self, write: impl FnOnce(&mut Self)) {
        self.of(SEQUENCE, write);
    }

    /// An unsigned integer from big-endian bytes, in minimal form.
    pub(crate) fn unsigned(&mut self, bytes: &[u8]) {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.get(zeros..).unwrap_or_default();
        self.of(INTEGER, |der| {
            if digits.first().is_none_or(|first| first & 0x80 != 0) {
                der.0.push(0);
            }
            der.raw(digits);
        });
    }

    /// A signed integer, in minimal form.
    pub(crate) fn integer(&mut self, value: i64) {
        let bytes = value.to_be_bytes();
        let redundant = bytes
            .windows(2)
            .take_while(|pair| matches!(pair, [0, b] if b & 0x80 == 0) || matches!(pair, [0xff, b] if b & 0x80 != 0))
            .count();
        self.tlv(INTEGER, bytes.get(redundant..).unwrap_or(&bytes));
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.tlv(BOOLEAN, &[if value { 0xff } else { 0 }]);
    }

    /// An object identifier; every arc fits 32 bits.
    pub(crate) fn oid(&mut self, arcs: &[u32]) {
        let (first, rest) = match arcs {
            [a, b, rest @ ..] => (a * 40 + b, rest),
            _ => (0, arcs),
        };
        self.of(0x06, |der| {
            for arc in std::iter::once(first).chain(rest.iter().copied()) {
                let groups = (1..5).rev().filter(|group| arc >> (7 * group) > 0);
                der.0.extend(groups.map(|group| (arc >> (7 * group) & 0x7f) as u8 | 0x80));
                der.0.push((arc & 0x7f) as u8);
            }
        });
    }

    pub(crate) fn bit_string(&mut self, bytes: &[u8]) {
        self.of(0x03, |der| {
            der.0.push(0);
            der.raw(bytes);
        });
    }

    /// Named bits, most significant first, trailing zero bits dropped (X.690 §11.2.2).
    pub(crate) fn named_bits(&mut self, bits: &[u8]) {
        let Some(&highest) = bits.iter().max() else {
            return self.tlv(0x03, &[0]);
        };
        let mut bytes = vec![0u8; usize::from(highest / 8) + 1];
        for bit in bits {
            if let Some(byte) = bytes.get_mut(usize::from(bit / 8)) {
                *byte |= 0x80 >> (bit % 8);
            }
        }
        let unused = 7 - highest % 8;
        bytes.insert(0, unused);
        self.tlv(0x03, &bytes);
    }

    /// UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5).
    pub(crate) fn time(&mut self, at: UnixTime) {
        let (year, month, day, hour, minute, second) = at.civil();
        let (century, year_of_century) = (year.div_euclid(100) as u32, year.rem_euclid(100) as u32);
        let short = (1950..2050).contains(&year);
        self.of(if short { 0x17 } else { 0x18 }, |der| {
            let numbers = [century, year_of_century, month, day, hour, minute, second];
            for number in numbers.into_iter().skip(short.into()) {
                der.0.extend([b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
            }
            der.0.push(b'Z');
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(write: impl FnOnce(&mut Der)) -> String {
        hex::encode(written(write))
    }

    #[test]
    fn known_encodings() {
        assert_eq!(hex_of(|der| der.oid(&[2, 5, 29, 17])), "0603551d11");
        assert_eq!(hex_of(|der| der.oid(&[1, 2, 840, 10045, 4, 3, 2])), "06082a8648ce3d040302");
        assert_eq!(hex_of(|der| der.oid(&[2, 999, u32::MAX])), "060788378fffffff7f");
        assert_eq!(hex_of(|der| der.unsigned(&[0, 0x80])), "02020080");
        assert_eq!(hex_of(|der| der.unsigned(&[0])), "020100");
        assert_eq!(hex_of(|der| der.integer(-1)), "0201ff");
        assert_eq!(hex_of(|der| der.integer(128)), "02020080");
        assert_eq!(hex_of(|der| der.integer(0)), "020100");
        assert_eq!(hex_of(|der| der.named_bits(&[0])), "03020780");
        assert_eq!(hex_of(|der| der.named_bits(&[5, 6])), "03020106");
        for (length, head) in [
            (127, vec![0x30, 127]),
            (128, vec![0x30, 0x81, 128]),
            (200, vec![0x30, 0x81, 200]),
            (300, vec![0x30, 0x82, 1, 44]),
        ] {
            let bytes = written(|der| der.sequence(|der| der.tlv(SEQUENCE, &vec![7; length])));
            let inner = written(|der| der.tlv(SEQUENCE, &vec![7; length]));
            assert_eq!((inner.get(..head.len()), inner.len()), (Some(&head[..]), head.len() + length));
            assert!(bytes.ends_with(&inner));
        }
        let three = |der: &mut Der| {
            der.boolean(true);
            der.raw(&[]);
            der.integer(0);
        };
        assert_eq!(hex_of(|der| der.sequence(three)), "30060101ff020100");
        for (at, text) in [(0, "700101000000Z"), (2_524_608_000, "20500101000000Z"), (1_795_219_199, "261120235959Z")] {
            let bytes = written(|der| der.time(UnixTime::from_seconds(at)));
            assert_eq!(bytes.get(2..), Some(text.as_bytes()));
        }
    }
}
