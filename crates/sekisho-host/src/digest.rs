use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use sekisho_types::Digest;

/// Identities of files whose content has one digest: device, inode, change time and size. Never a path.
type Key = (u64, u64, i64, i64, u64);

const MAX_CACHED: usize = 4096;

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
        let digest = hash(file)?;
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

/// SHA-256 of a file, read anew.
pub fn file_digest(path: &std::path::Path) -> std::io::Result<Digest> {
    hash(&mut File::open(path)?)
}

fn key(file: &File) -> std::io::Result<Key> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.size()))
}

fn hash(file: &mut File) -> std::io::Result<Digest> {
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
