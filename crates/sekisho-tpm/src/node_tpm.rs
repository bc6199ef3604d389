//! The TPM of this node, for a program that runs as long as the node does.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use sekisho_types::Secret;

use crate::device::{Device, Socket};
use crate::error::TpmError;
use crate::keys::{Key, StoredKey};
use crate::templates::Template;
use crate::tpm::Tpm;

/// A TPM that is opened anew for each use. Between two uses nothing of ours is in it, and others can use it: a software
/// TPM serves one connection at a time and has space for three objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTpm {
    path: PathBuf,
    is_software: bool,
}

impl NodeTpm {
    /// A device (`/dev/tpmrm0`), or the socket of a software TPM.
    ///
    /// # Errors
    /// Neither, or no permission.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        let is_software = std::fs::metadata(path)?.file_type().is_socket();
        let tpm = Self { path: path.to_owned(), is_software };
        tpm.open()?;
        Ok(tpm)
    }

    /// A program, by the way in which it is reached.
    pub const fn is_software(&self) -> bool {
        self.is_software
    }

    pub(crate) fn open(&self) -> std::io::Result<Tpm> {
        Ok(match self.is_software {
            true => Tpm::new(Socket::connect(&self.path)?),
            false => Tpm::new(Device::open(&self.path)?),
        })
    }

    /// Has something done below the storage root.
    pub(crate) fn below_root<T>(
        &self,
        work: impl FnOnce(&mut Tpm, &Key) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let mut tpm = self.open()?;
        let root = tpm.primary(Template::StorageRoot)?;
        let done = work(&mut tpm, &root);
        tpm.flush(root)?;
        done
    }

    /// Encrypts a secret of at most 128 bytes so that only this TPM reads it.
    ///
    /// # Errors
    /// The TPM is not reached, or refuses.
    pub fn seal(&self, secret: &Secret<Vec<u8>>) -> Result<StoredKey, TpmError> {
        self.below_root(|tpm, root| tpm.seal(root, secret))
    }

    /// Reads a secret that [`Self::seal`] encrypted.
    ///
    /// # Errors
    /// A secret of another TPM ([`TpmError::is_foreign`]), or the TPM is not reached.
    pub fn unseal(&self, sealed: &StoredKey) -> Result<Secret<Vec<u8>>, TpmError> {
        self.below_root(|tpm, root| tpm.unseal(root, sealed))
    }
}
