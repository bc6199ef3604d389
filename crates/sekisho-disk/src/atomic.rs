use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::disk::Disk;
use crate::error::DiskError;

/// Makes a folder that only its owner may enter, with its parents.
pub fn private_folder(path: &Path) -> Result<(), DiskError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::io(path))
}

/// Replaces `path` by `bytes`, mode 0600: after a crash either the old content is there or the new.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    Disk::of_machine().write_atomic(path, bytes)
}
