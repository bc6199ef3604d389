//! Keys in a TPM and outside of it.

use sekisho_evidence::tpm::Public;

/// A key that is loaded. Its handle is valid until it is flushed, or the connection to the resource manager closes.
#[derive(Debug, Clone)]
pub struct Key {
    pub(crate) handle: u32,
    pub public: Public,
    /// `TPMT_PUBLIC`, as the TPM marshalled it.
    pub public_bytes: Vec<u8>,
}

/// A key that is kept outside the TPM. Only the TPM that made it can read the private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The contents of `TPM2B_PRIVATE`, encrypted by the TPM.
    pub private: Vec<u8>,
    /// `TPMT_PUBLIC`
    pub public: Vec<u8>,
}

impl StoredKey {
    /// For a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.private.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&length[..], &self.private, &self.public].concat()
    }

    /// `None`: not such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (private, public) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Self { private: private.to_vec(), public: public.to_vec() })
    }
}
