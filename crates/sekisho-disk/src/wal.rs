//! Write-ahead files: framed records whose torn tail is told from damage.
//!
//! A frame is: length of the record as u32, first eight bytes of its SHA-256, the record. A file begins with
//! sixteen bytes: a magic word and a number that its owner chooses.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::DiskError;
use crate::atomic::write_atomic;

const MAGIC: &[u8; 8] = b"sekwal1\n";
const FRAME_HEAD: usize = 12;
/// Longest record, in bytes.
const MAX_RECORD: usize = 16 * 1024 * 1024;

/// A file, the number in its head, and its whole records.
pub(crate) type Opened = (Wal, u64, Vec<Vec<u8>>);

pub(crate) struct Wal {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Wal {
    /// Makes a new file with these records in place of the one at `path`, as one step.
    pub(crate) fn create(path: &Path, number: u64, records: &[&[u8]]) -> Result<Self, DiskError> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&number.to_be_bytes());
        head.extend(frames(records.iter().copied())?);
        write_atomic(path, &head)?;
        let mut file = OpenOptions::new().read(true).write(true).mode(0o600).open(path).map_err(DiskError::io(path))?;
        let length = file.seek(SeekFrom::End(0)).map_err(DiskError::io(path))?;
        Ok(Self { path: path.to_owned(), file, length })
    }

    /// Opens a file and reads its number and its whole records. A torn tail is cut off: it was never
    /// acknowledged. `None` when there is no file.
    pub(crate) fn open(path: &Path) -> Result<Option<Opened>, DiskError> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io(path)(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(DiskError::io(path))?;
        let damaged = |what| DiskError::Damaged { path: path.to_owned(), what };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("its head is missing"))?;
        let (number, mut rest) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("its head is missing"))?;
        if magic != MAGIC {
            return Err(damaged("it is no write-ahead file"));
        }
        let mut records = Vec::new();
        while let Some((record, after)) = frame(rest) {
            records.push(record.to_vec());
            rest = after;
        }
        // Whole frames behind an unreadable one mean damage, not a torn write.
        if (1..rest.len())
            .any(|skip| rest.get(skip..).is_some_and(|tail| frame(tail).is_some_and(|(r, _)| !r.is_empty())))
        {
            return Err(damaged("a record in the middle does not fit its checksum"));
        }
        let length = (bytes.len() - rest.len()) as u64;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(DiskError::io(path))?;
        file.seek(SeekFrom::End(0)).map_err(DiskError::io(path))?;
        Ok(Some((Self { path: path.to_owned(), file, length }, u64::from_be_bytes(*number), records)))
    }

    /// Appends records; durable on return. On failure nothing of it counts as written.
    pub(crate) fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Result<(), DiskError> {
        let bytes = frames(records)?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Cut off what may have been written, so that a later success does not stand behind garbage.
            let cut = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::End(0)));
            tracing::error!(path = %self.path.display(), %error, cut = cut.is_ok(), "write-ahead file not written");
            return Err(DiskError::io(&self.path)(error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(crate) const fn len(&self) -> u64 {
        self.length
    }
}

fn frames<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, DiskError> {
    let mut bytes = Vec::new();
    for record in records {
        let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= MAX_RECORD);
        let length = length.ok_or_else(|| DiskError::Rule("a record is longer than 16 MiB".into()))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend(checksum(record));
        bytes.extend_from_slice(record);
    }
    Ok(bytes)
}

fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD)?;
    let (length, sum) = head.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= MAX_RECORD)?;
    let (record, after) = rest.split_at_checked(length)?;
    checksum(record).eq(sum.iter().copied()).then_some((record, after))
}

fn checksum(record: &[u8]) -> impl Iterator<Item = u8> + use<> {
    let digest = digest(&SHA256, record);
    let mut first = [0u8; 8];
    first.copy_from_slice(digest.as_ref().first_chunk::<8>().unwrap_or(&[0; 8]));
    first.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_is_cut_and_a_broken_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let mut wal = Wal::create(&path, 7, &[]).unwrap();
        wal.append([&b"one"[..], b"two", b"three"]).unwrap();
        drop(wal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 16..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (_, number, records) = Wal::open(&path).unwrap().unwrap();
            assert_eq!(number, 7);
            assert!(records.len() < 3, "cut at {cut}");
        }
        let mut broken = whole.clone();
        broken[16 + FRAME_HEAD] ^= 1;
        std::fs::write(&path, &broken).unwrap();
        assert!(matches!(Wal::open(&path), Err(DiskError::Damaged { .. })));
    }
}
