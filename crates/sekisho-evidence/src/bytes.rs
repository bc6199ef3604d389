//! A bounded reader of binary structures. It never panics and never copies.

/// A structure that ends early, has bytes left, or holds a value outside its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {structure} is malformed near byte {at}: {why}")]
pub struct Malformed {
    /// The structure's name in its specification.
    pub structure: &'static str,
    /// The offset in bytes from the structure's start.
    pub at: usize,
    pub why: &'static str,
}

/// Reads one structure from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    structure: &'static str,
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { structure, rest: bytes, length: bytes.len() }
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn refusal(&self, why: &'static str) -> Malformed {
        Malformed { structure: self.structure, at: self.length - self.rest.len(), why }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.refusal("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.refusal("it ends early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Bytes after their length of 16 bits, as every `TPM2B` structure has them; at most `longest`.
    pub(crate) fn sized_be(&mut self, longest: usize) -> Result<&'a [u8], Malformed> {
        let size = usize::from(self.u16_be()?);
        self.at_most(size, longest)?;
        self.bytes(size)
    }

    /// Bytes after their little-endian length of 32 bits; at most `longest`.
    pub(crate) fn sized_le(&mut self, longest: usize) -> Result<&'a [u8], Malformed> {
        let size = usize::try_from(self.u32_le()?).unwrap_or(usize::MAX);
        self.at_most(size, longest)?;
        self.bytes(size)
    }

    const fn at_most(&self, size: usize, longest: usize) -> Result<(), Malformed> {
        if size > longest {
            return Err(self.refusal("a length is larger than its field may have"));
        }
        Ok(())
    }

    /// Refuses bytes after the structure.
    pub(crate) const fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.refusal("bytes follow its end")) }
    }
}
