//! Hash algorithms of a TPM's PCR banks (TCG Algorithm Registry), and the extend operation.

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};

/// A PCR bank's hash algorithm. SHA-1 exists to read logs; no verdict rests on it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashAlgorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// By its `TPM_ALG_ID`.
    pub fn of_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.id() == id)
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Its `TPM_ALG_ID`.
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// Its name in the kernel's files: `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a digest in bytes.
    pub fn digest_len(self) -> usize {
        self.algorithm().output_len()
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }

    /// The digest of all parts, one after the other.
    pub fn digest<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut context = Context::new(self.algorithm());
        parts.into_iter().for_each(|part| context.update(part));
        context.finish().as_ref().to_vec()
    }

    /// What `TPM2_PCR_Extend` makes of a PCR: the digest of its value and the new digest.
    pub fn extend(self, pcr: &mut Vec<u8>, digest: &[u8]) {
        *pcr = self.digest([pcr.as_slice(), digest]);
    }
}
