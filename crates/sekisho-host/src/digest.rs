use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use sekisho_types::Digest;

/// Identities of files whose content has one digest: device, inode, change time and size. Never a path.
type Key = (u64, u64, i64, i64, u64);

const MAX_CACHED: usize = 4096;

/// The largest executable that is hashed, in bytes: a file with holes can claim any size.
const MAX_EXECUTABLE: u64 = 4 * 1024 * 1024 * 1024;

/// Digests of executables, so that each file is hashed once.
#[derive(Default)]
pub struct DigestCache(Mutex<BTreeMap<Key, Digest>>);

impl DigestCache {
    /// SHA-256 of an open file. A file that changes while it is read is not cached.
    pub fn digest(&self, file: &mut File) -> std::io::Result<Digest> {
        let key = key(file)?;
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(*known);
        }
        let (.., size) = key;
        if size > MAX_EXECUTABLE {
            return Err(std::io::Error::other("the executable is larger than 4 GiB"));
        }
        let digest = hash(&mut file.take(MAX_EXECUTABLE))?;
        if self::key(file)? == key {
            let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() >= MAX_CACHED {
                cache.clear();
            }
            cache.insert(key, digest);
        }
        Ok(digest)
    }
}

/// SHA-256 of this process's executable, read once: it cannot become another file's.
pub fn own_digest() -> std::io::Result<Digest> {
    static OWN: OnceLock<Digest> = OnceLock::new();
    match OWN.get() {
        Some(known) => Ok(*known),
        None => Ok(*OWN.get_or_init({
            let digest = file_digest(std::path::Path::new("/proc/self/exe"))?;
            move || digest
        })),
    }
}

/// SHA-256 of a file, read anew.
pub fn file_digest(path: &std::path::Path) -> std::io::Result<Digest> {
    hash(&mut File::open(path)?)
}

fn key(file: &File) -> std::io::Result<Key> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.size()))
}

fn hash(file: &mut impl Read) -> std::io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        context.update(buffer.get(..read).unwrap_or_default());
    }
    let mut out = [0u8; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(Digest::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_a_sparse_file_is_refused_unread() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(MAX_EXECUTABLE + 1).unwrap();
        let cache = DigestCache::default();
        assert!(cache.digest(&mut file).unwrap_err().to_string().contains("4 GiB"));
        file.set_len(3).unwrap();
        cache.digest(&mut file).unwrap();
    }
}
