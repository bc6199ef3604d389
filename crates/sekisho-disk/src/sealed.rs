//! A cache on disk that only this machine's agent reads: AES-256-GCM under a key in a file of mode 0600.
//!
//! That key is as safe as the file: root and the agent's user read both. A TPM will seal it later; the file names its
//! seal, so that the two cannot be confused.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use sekisho_types::Secret;

use crate::DiskError;
use crate::atomic::write_atomic;

/// What seals the cache, as the file itself and the agent's status say.
pub const SEALED_BY: &str = "insecure-key-file-0600";
const MAGIC: &[u8] = b"sekisho-sealed/1 insecure-key-file-0600\n";

pub struct SealedCache {
    path: PathBuf,
    key: RandomizedNonceKey,
}

impl SealedCache {
    /// `key` has 32 bytes.
    pub fn new(path: &Path, key: &Secret<Vec<u8>>) -> Result<Self, DiskError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.expose());
        Ok(Self { path: path.to_owned(), key: key.map_err(|_| DiskError::Rule("a sealing key has 32 bytes".into()))? })
    }

    /// Replaces the cache's content; durable on return.
    pub fn store(&self, plain: &[u8]) -> Result<(), DiskError> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(MAGIC), &mut sealed);
        let nonce = nonce.map_err(|_| DiskError::Rule("the cache could not be sealed".into()))?;
        write_atomic(&self.path, &[MAGIC, nonce.as_ref(), &sealed].concat())
    }

    /// The content, or `None` when there is none yet.
    pub fn load(&self) -> Result<Option<Secret<Vec<u8>>>, DiskError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io(&self.path)(error)),
        };
        let damaged = || DiskError::Damaged { path: self.path.clone(), what: "it is not sealed by this agent's key" };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or_else(damaged)?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce.into(), Aad::from(MAGIC), &mut sealed).map_err(|_| damaged())?;
        Ok(Some(Secret::new(plain.to_vec())))
    }
}
