use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::disk::Disk;
use crate::error::DiskError;

/// Makes a folder that only its owner may enter, with its parents. A loss of power takes none of them away again, as
/// far as the folder above may be read.
pub fn private_folder(path: &Path) -> Result<(), DiskError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::io(path))?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let _best_effort = Disk::of_machine().sync_folder(parent);
    }
    Ok(())
}

/// Makes what is missing of the folders between `top` and `folder`, and never `top` itself: in the place of a folder
/// that was moved away it would begin another one.
pub(crate) fn private_folders_below(top: &Path, folder: &Path) -> Result<(), DiskError> {
    let mut at = top.to_owned();
    for part in folder.strip_prefix(top).unwrap_or(Path::new("")) {
        at.push(part);
        match std::fs::DirBuilder::new().mode(0o700).create(&at) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(DiskError::io(&at)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Removes `path`, if it is there; durable on return.
pub fn remove_file(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(DiskError::io(path)(error)),
        _ => {}
    }
    path.parent().map_or(Ok(()), |folder| Disk::of_machine().sync_folder(folder))
}

/// Replaces `path` by `bytes`, mode 0600: after a crash either the old content is there or the new.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    Disk::of_machine().write_atomic(path, bytes)
}
