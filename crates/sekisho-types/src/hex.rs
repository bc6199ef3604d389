//! Hexadecimal digits in lower case, without an allocation.

/// The digits of at most 32 bytes, as one text: to write it once costs a fraction of writing it digit by digit.
#[derive(Debug, Clone, Copy)]
pub struct HexDigits {
    digits: [[u8; 2]; 32],
    bytes: usize,
}

impl HexDigits {
    pub fn of<const N: usize>(bytes: &[u8; N]) -> Self {
        const { assert!(N <= 32, "longer ones are written in parts") }
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or_default();
        let mut digits = [[0; 2]; 32];
        digits.iter_mut().zip(bytes).for_each(|(pair, byte)| *pair = [digit(byte >> 4), digit(*byte)]);
        Self { digits, bytes: N }
    }

    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(..self.bytes).unwrap_or_default();
        std::str::from_utf8(digits.as_flattened()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        for byte in 0..=255 {
            assert_eq!(HexDigits::of(&[byte, 0xa0]).as_str(), format!("{byte:02x}a0"));
        }
        assert_eq!(HexDigits::of(&[]).as_str(), "");
        assert_eq!(HexDigits::of(&[0xff; 32]).as_str(), "f".repeat(64));
    }
}
