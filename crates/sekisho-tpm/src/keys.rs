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
