//! The key that seals the agent's cache: in its TPM, or in a file beside the cache.

use std::path::Path;

use sekisho_disk::{DiskError, SealedBy, remove_file, write_atomic};
use sekisho_keys::{KeyError, load_or_create};
use sekisho_runtime::random_bytes;
use sekisho_tpm::{NodeTpm, StoredKey};
use sekisho_types::{Secret, SignatureAlgorithm};

/// The key pair whose private part the key is derived from, where there is no TPM.
const KEY_FILE: &str = "seal.key";
/// The key, as the TPM encrypted it.
const TPM_FILE: &str = "seal.tpm";

/// The key that seals the cache in `folder`.
///
/// With a TPM, a folder that is copied to another machine opens nowhere: that TPM refuses, and the agent begins anew.
pub(crate) fn sealing_key(folder: &Path, tpm: Option<&NodeTpm>) -> Result<(Secret<Vec<u8>>, SealedBy), DiskError> {
    match tpm {
        Some(tpm) => Ok((in_tpm(folder, tpm)?, SealedBy::Tpm)),
        None => Ok((in_file(folder)?, SealedBy::KeyFile)),
    }
}

fn in_file(folder: &Path) -> Result<Secret<Vec<u8>>, DiskError> {
    let rule = |e: KeyError| DiskError::Rule(e.to_string());
    // One kind of key file serves all.
    let key = load_or_create(&folder.join(KEY_FILE), SignatureAlgorithm::Ed25519).map_err(rule)?;
    let seed = key.pkcs8().expose().get(16..48).map(<[u8]>::to_vec);
    seed.map(Secret::new).ok_or_else(|| DiskError::Rule("the sealing key is too short".into()))
}

fn in_tpm(folder: &Path, tpm: &NodeTpm) -> Result<Secret<Vec<u8>>, DiskError> {
    let path = folder.join(TPM_FILE);
    let refused = |error: sekisho_tpm::TpmError| DiskError::Rule(format!("the key of the cache: {error}"));
    match std::fs::read(&path) {
        Ok(bytes) => match StoredKey::from_bytes(&bytes).map(|stored| tpm.unseal(&stored)) {
            Some(Ok(key)) => return Ok(key),
            Some(Err(error)) if !error.is_foreign() => return Err(refused(error)),
            _ => tracing::error!(
                "the cache was sealed by another TPM, or its key was changed; it is not used, and the agent attests \
                 again"
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(DiskError::Rule(format!("{}: {source}", path.display()))),
    }
    let key = Secret::new(random_bytes::<32>().to_vec());
    let sealed = tpm.seal(&key).map_err(refused)?;
    write_atomic(&path, &sealed.to_bytes())?;
    // What an agent without `--tpm` left opens nothing any more.
    remove_file(&folder.join(KEY_FILE))?;
    Ok(key)
}
