use std::fs::File;
use std::io;
use std::path::Path;

/// Makes durable what was written to a file or what a folder lists.
pub(crate) trait Durable: Send + Sync {
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;
    fn sync_folder(&self, folder: &File, path: &Path) -> io::Result<()>;
}
