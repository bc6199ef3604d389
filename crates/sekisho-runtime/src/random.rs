use sekisho_ports::{random_bytes, random_id};
use sekisho_types::{HexDigits, UnixTime};

/// A 128-bit identifier that sorts by time: 48 bits of Unix milliseconds, 80 random bits.
pub fn time_ordered_id(at: UnixTime) -> [u8; 16] {
    let mut id = random_id::<16>();
    let milliseconds = at.millis().to_be_bytes();
    id.iter_mut().zip(milliseconds.iter().skip(2)).for_each(|(to, from)| *to = *from);
    id
}

/// `bytes` random bytes as hexadecimal digits; at most 32 bytes.
pub fn random_hex(bytes: usize) -> String {
    to_hex(random_bytes::<32>().get(..bytes).unwrap_or_default())
}

/// Bytes as hexadecimal digits in lower case.
pub fn to_hex(bytes: &[u8]) -> String {
    let (parts, rest) = bytes.as_chunks::<8>();
    let mut out = String::with_capacity(bytes.len() * 2);
    parts.iter().for_each(|part| out.push_str(HexDigits::of(part).as_str()));
    rest.iter().for_each(|byte| out.push_str(HexDigits::of(&[*byte]).as_str()));
    out
}

pub fn random_u32() -> u32 {
    u32::from_ne_bytes(random_bytes())
}
