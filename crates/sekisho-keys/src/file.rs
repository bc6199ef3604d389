use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sekisho_types::{Secret, SignatureAlgorithm};

use crate::{KeyError, MemoryKey};

/// The key in `path`, made there on first use. The file is created exclusively, with mode 0600 (law L8);
/// one that others can read is refused.
pub fn load_or_create(path: &Path, algorithm: SignatureAlgorithm) -> Result<MemoryKey, KeyError> {
    let error = |source| KeyError::File { path: path.display().to_string(), source };
    match read(path) {
        Ok(pkcs8) => MemoryKey::from_pkcs8(algorithm, pkcs8),
        Err(KeyError::Missing { .. }) => {
            let key = MemoryKey::generate(algorithm)?;
            // Under another name until it is whole: a crash leaves no key file that is half written.
            let new = path.with_extension("new");
            if let Err(source) = std::fs::remove_file(&new)
                && source.kind() != ErrorKind::NotFound
            {
                return Err(error(source));
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(error)?;
            file.write_all(key.pkcs8().expose()).and_then(|()| file.sync_all()).map_err(error)?;
            // A link fails where a file stands already, so of two processes one makes the key.
            std::fs::hard_link(&new, path).and_then(|()| std::fs::remove_file(&new)).map_err(error)?;
            let folder = path.parent().map(std::fs::File::open).transpose().map_err(error)?;
            folder.map(|folder| folder.sync_all()).transpose().map_err(error)?;
            Ok(key)
        }
        Err(other) => Err(other),
    }
}

/// The key in `path`, which must be there.
pub fn load(path: &Path, algorithm: SignatureAlgorithm) -> Result<MemoryKey, KeyError> {
    MemoryKey::from_pkcs8(algorithm, read(path)?)
}

fn read(path: &Path) -> Result<Secret<Vec<u8>>, KeyError> {
    let shown = || path.display().to_string();
    let error = |source| KeyError::File { path: shown(), source };
    let file = std::fs::File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing { path: shown() },
        _ => error(source),
    })?;
    let mode = file.metadata().map_err(error)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: shown(), mode });
    }
    let mut bytes = Vec::new();
    file.take(16 * 1024).read_to_end(&mut bytes).map_err(error)?;
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sekisho_types::Signer;

    use super::*;

    #[test]
    fn law_l8_exposed_key_files_are_refused() {
        let folder = std::env::temp_dir().join(format!("sekisho-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("k");
        let made = load_or_create(&path, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = load_or_create(&path, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        assert_eq!(made.public_key_der(), again.public_key_der());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(&path, SignatureAlgorithm::EcdsaP256Sha256), Err(KeyError::Exposed { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
