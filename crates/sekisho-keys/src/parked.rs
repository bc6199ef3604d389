//! Keys that are out of use and not yet unlinked: a deleted key cannot come back, and the clock that called it expired
//! may have been wrong.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sekisho_types::UnixTime;

use crate::KeyError;

/// The folder beside the keys.
const FOLDER: &str = "parked";

/// Moves a key that no longer signs into the folder of parked keys, to stay until `until`. One that is not there is no
/// error.
pub fn park(path: &Path, until: UnixTime) -> Result<(), KeyError> {
    let Some((folder, name)) = place(path) else { return Ok(()) };
    // Within the folder of keys only: where that was moved away, another in its place would hold nothing.
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => return Err(error(&folder, source)),
        _ => {}
    }
    // The end is a part of the name: no date of a file, which a copy changes, decides over a key.
    move_to(path, &folder.join(format!("{}.{name}", until.seconds().max(0))))
}

/// Brings a parked key back to `path`. Returns whether there was one.
pub fn unpark(path: &Path) -> Result<bool, KeyError> {
    let Some((folder, name)) = place(path) else { return Ok(false) };
    let Some(parked) = parked(&folder)?.into_iter().find(|parked| parked.name == name) else { return Ok(false) };
    move_to(&parked.path, path).map(|()| true)
}

/// Unlinks the parked keys of the keys' folder whose time has passed at `believed`. Returns how many.
pub fn unlink_parked(keys: &Path, believed: UnixTime) -> Result<usize, KeyError> {
    let mut gone = 0;
    for parked in parked(&keys.join(FOLDER))? {
        if parked.until < believed.seconds() {
            std::fs::remove_file(&parked.path).map_err(|source| error(&parked.path, source))?;
            gone += 1;
        }
    }
    Ok(gone)
}

struct Parked {
    path: PathBuf,
    /// Unix seconds until which it stays.
    until: i64,
    /// What it was called.
    name: String,
}

fn parked(folder: &Path) -> Result<Vec<Parked>, KeyError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(error(folder, source)),
    };
    let mut out = vec![];
    for entry in entries {
        let path = entry.map_err(|source| error(folder, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
        if let Some((until, name)) = name
            && let Ok(until) = until.parse()
        {
            let name = name.to_owned();
            out.push(Parked { path, until, name });
        }
    }
    Ok(out)
}

fn place(path: &Path) -> Option<(PathBuf, &str)> {
    Some((path.parent()?.join(FOLDER), path.file_name()?.to_str()?))
}

fn move_to(from: &Path, to: &Path) -> Result<(), KeyError> {
    match std::fs::rename(from, to) {
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
        moved => moved.map_err(|source| error(from, source))?,
    }
    for folder in [from.parent(), to.parent()].into_iter().flatten() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| error(folder, source))?;
    }
    Ok(())
}

fn error(path: &Path, source: std::io::Error) -> KeyError {
    KeyError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use sekisho_types::{SignatureAlgorithm, Signer};

    use super::*;

    #[test]
    fn a_parked_key_is_removed_by_believed_time() {
        let folder = std::env::temp_dir().join(format!("sekisho-parked-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("k.x509.key");
        let made = crate::load_or_create(&path, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        let at = UnixTime::from_seconds;
        park(&path, at(1000)).unwrap();
        park(&path, at(1000)).unwrap();
        assert!(!path.exists());
        let parked = std::fs::metadata(folder.join("parked/1000.k.x509.key")).unwrap();
        assert_eq!(parked.mode() & 0o777, 0o600);
        assert_eq!(unlink_parked(&folder, at(1000)).unwrap(), 0);
        assert!(unpark(&path).unwrap());
        let again = crate::load(&path, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        assert_eq!(made.public_key_der(), again.public_key_der());
        park(&path, at(1000)).unwrap();
        assert_eq!(unlink_parked(&folder, at(1001)).unwrap(), 1);
        assert!(!unpark(&path).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
