//! A cache on disk that only this machine's agent reads: AES-256-GCM under a key that is elsewhere.
//!
//! A key in a file of mode 0600 is as safe as the file: root and the agent's user read both. A key that a TPM sealed is
//! read on this machine only. The file names its seal, so that the two cannot be confused.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use sekisho_types::Secret;

use crate::DiskError;
use crate::atomic::write_atomic;

/// What seals the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedBy {
    KeyFile,
    Tpm,
}

impl SealedBy {
    /// As the file itself and the agent's status say.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyFile => "insecure-key-file-0600",
            Self::Tpm => "tpm",
        }
    }
}

pub struct SealedCache {
    path: PathBuf,
    key: RandomizedNonceKey,
    magic: Vec<u8>,
}

impl SealedCache {
    /// `key` has 32 bytes.
    pub fn new(path: &Path, key: &Secret<Vec<u8>>, by: SealedBy) -> Result<Self, DiskError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.expose());
        let key = key.map_err(|_| DiskError::Rule("a sealing key has 32 bytes".into()))?;
        Ok(Self { path: path.to_owned(), key, magic: format!("sekisho-sealed/1 {}\n", by.as_str()).into_bytes() })
    }

    /// Replaces the cache's content; durable on return.
    pub fn store(&self, plain: &[u8]) -> Result<(), DiskError> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(&self.magic), &mut sealed);
        let nonce = nonce.map_err(|_| DiskError::Rule("the cache could not be sealed".into()))?;
        write_atomic(&self.path, &[self.magic.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    /// The content, or `None` when there is none yet.
    pub fn load(&self) -> Result<Option<Secret<Vec<u8>>>, DiskError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io(&self.path)(error)),
        };
        let damaged = || DiskError::Damaged { path: self.path.clone(), what: "it is not sealed by this agent's key" };
        let rest = bytes.strip_prefix(self.magic.as_slice()).ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or_else(damaged)?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce.into(), Aad::from(&self.magic), &mut sealed).map_err(|_| damaged())?;
        Ok(Some(Secret::new(plain.to_vec())))
    }
}
