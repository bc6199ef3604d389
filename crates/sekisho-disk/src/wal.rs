//! Write-ahead files: framed records whose torn tail is distinguished from damage.
//!
//! A file begins with sixteen bytes: a magic word and a number that its owner chooses. Then comes a frame for each
//! append: the length of its payload as u32, the first eight bytes of the payload's SHA-256, the payload. A payload is
//! records, each behind its length as u32. Behind the last frame stand zeros, so that most appends leave the file's
//! length as it is and an fsync has no metadata to write.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::DiskError;
use crate::disk::Disk;

const MAGIC: &[u8; 8] = b"sekwal2\n";
/// Bytes before the first frame.
pub(crate) const HEAD: usize = 16;
const FRAME_HEAD: usize = 12;
/// Longest payload of a frame, in bytes.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;
/// Zeros are written as far ahead as the file is long, within these bounds, in bytes.
const LEAST_AHEAD: u64 = 4 * 1024;
const MOST_AHEAD: u64 = 256 * 1024;
const KEPT_BUFFER: usize = 1024 * 1024;

/// A file, the number in its head, and its whole records.
pub(crate) type Opened = (Wal, u64, Vec<Vec<u8>>);

pub(crate) struct Wal {
    disk: Disk,
    path: PathBuf,
    file: File,
    /// Where the next frame goes.
    length: u64,
    /// Up to where the file was written; zeros stand from `length` on.
    written: u64,
    /// The frame of one append, kept for the next.
    buffer: Vec<u8>,
    /// A sync of it failed: nothing that is written to it counts, until it [is rewritten](Wal::restart_file).
    broken: bool,
}

impl Wal {
    /// Makes a new file with these records in place of the one at `path`, as one step.
    pub(crate) fn create<'a>(
        disk: &Disk,
        path: &Path,
        number: u64,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, DiskError> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&number.to_be_bytes());
        let mut buffer = vec![];
        for record in records {
            frame_into(&mut buffer, [[record]])?;
            head.append(&mut buffer);
        }
        disk.write_atomic(path, &head)?;
        Self::at(disk, path, head.len() as u64)
    }

    fn at(disk: &Disk, path: &Path, length: u64) -> Result<Self, DiskError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(DiskError::io(path))?;
        let (disk, path) = (disk.clone(), path.to_owned());
        Ok(Self { disk, path, file, length, written: length, buffer: vec![], broken: false })
    }

    /// Makes a new file with these records in the place of this one. On failure nothing can be appended until another
    /// attempt succeeds.
    pub(crate) fn restart_file<'a>(
        &mut self,
        number: u64,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), DiskError> {
        // The new file may have the name already when this fails: what went on into this one would not be found again.
        self.broken = true;
        *self = Self::create(&self.disk, &self.path, number, records)?;
        Ok(())
    }

    /// Opens a file and reads its number and its whole records. A torn tail is cut off: it was never
    /// acknowledged. `None` when there is no file.
    pub(crate) fn open(disk: &Disk, path: &Path) -> Result<Option<Opened>, DiskError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io(path)(error)),
        };
        let damaged = |what| DiskError::Damaged { path: path.to_owned(), what };
        let number = number_of(&bytes).ok_or_else(|| damaged("it has no head of a write-ahead file"))?;
        let mut rest = bytes.get(HEAD..).unwrap_or_default();
        let mut records = Vec::new();
        while let Some((payload, after)) = frame(rest) {
            let whole = split_payload(payload).ok_or_else(|| damaged("a frame holds no records"))?;
            records.extend(whole.into_iter().map(<[u8]>::to_vec));
            rest = after;
        }
        let length = bytes.len() - rest.len();
        // Each frame was durable before the next was begun: a whole one behind an unreadable one means damage.
        let torn = rest.len() - rest.iter().rev().take_while(|byte| **byte == 0).count();
        if (1..torn).any(|skip| rest.get(skip..).is_some_and(|tail| frame(tail).is_some_and(|(r, _)| !r.is_empty()))) {
            return Err(damaged("a record in the middle does not fit its checksum"));
        }
        // What was read may stand in the page cache only, behind a sync that failed: it is written again, to a new
        // inode.
        let rewritten = disk.write_atomic(path, bytes.get(..length).unwrap_or_default());
        let mut wal = Self::at(disk, path, length as u64)?;
        if let Err(error) = rewritten {
            tracing::error!(path = %path.display(), %error, "a write-ahead file waits for its disk");
            wal.broken = true;
        }
        Ok(Some((wal, number, records)))
    }

    /// Appends records, each given in parts; durable on return. On failure nothing of it counts as written, and unless
    /// the file is [broken](Self::is_broken) a later append may succeed.
    pub(crate) fn append<'a, const PARTS: usize>(
        &mut self,
        records: impl IntoIterator<Item = [&'a [u8]; PARTS]>,
    ) -> Result<(), DiskError> {
        if self.broken {
            return Err(DiskError::Stopped(format!("{} could not be made durable", self.path.display())));
        }
        self.buffer.clear();
        frame_into(&mut self.buffer, records)?;
        let length = self.length + self.buffer.len() as u64;
        if length > self.written {
            let ahead = usize::try_from(length.clamp(LEAST_AHEAD, MOST_AHEAD)).unwrap_or_default();
            self.buffer.resize(self.buffer.len() + ahead, 0);
        }
        let written = self.file.write_all_at(&self.buffer, self.length);
        // What a failed sync left on disk is unknown, and a second one may lie about it.
        let synced = |broken: &mut bool| self.disk.sync_data(&self.file, &self.path).inspect_err(|_| *broken = true);
        let written = written.and_then(|()| synced(&mut self.broken));
        if let Err(error) = written {
            // Cut off what may have been written, so that a later success does not stand before garbage.
            self.broken |= self.file.set_len(self.length).is_err();
            self.written = self.length;
            tracing::error!(path = %self.path.display(), %error, broken = self.broken, "write-ahead file not written");
            return Err(DiskError::io(&self.path)(error));
        }
        self.written = self.written.max(self.length + self.buffer.len() as u64);
        self.length = length;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        Ok(())
    }

    /// Whether nothing can be appended until the file begins anew.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Nothing more is appended: the zeros ahead go.
    pub(crate) fn end(self) {
        if let Err(error) = self.file.set_len(self.length) {
            tracing::debug!(path = %self.path.display(), %error, "zeros stay at the end of a file");
        }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.length
    }
}

/// Writes one frame to the end of `out`, which is empty.
fn frame_into<'a, const PARTS: usize>(
    out: &mut Vec<u8>,
    records: impl IntoIterator<Item = [&'a [u8]; PARTS]>,
) -> Result<(), DiskError> {
    out.extend_from_slice(&[0; FRAME_HEAD]);
    for record in records {
        let length: usize = record.iter().map(|part| part.len()).sum();
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        record.iter().for_each(|part| out.extend_from_slice(part));
    }
    let payload = out.get(FRAME_HEAD..).unwrap_or_default();
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD);
    let length = length.ok_or_else(|| DiskError::Rule("more than 16 MiB cannot be written at once".into()))?;
    let sum = checksum(payload);
    let head = length.to_be_bytes().into_iter().chain(sum);
    out.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    Ok(())
}

/// The payload of the frame that `bytes` begins with, and what follows.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD)?;
    let (length, sum) = head.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= MAX_PAYLOAD)?;
    let (payload, after) = rest.split_at_checked(length)?;
    (checksum(payload) == sum).then_some((payload, after))
}

/// The whole frames of a file, in order: where each begins and ends, and its payload.
pub(crate) fn frames(file: &[u8]) -> impl Iterator<Item = (u64, u64, &[u8])> {
    let mut rest = file.get(HEAD..).unwrap_or_default();
    let mut at = HEAD as u64;
    std::iter::from_fn(move || {
        let (payload, after) = frame(rest).filter(|(payload, _)| !payload.is_empty())?;
        let (from, to) = (at, at + (FRAME_HEAD + payload.len()) as u64);
        (rest, at) = (after, to);
        Some((from, to, payload))
    })
}

/// The payload of the frame that begins at `offset` of a file, if it is whole.
pub(crate) fn read_frame(file: &File, offset: u64) -> Option<Vec<u8>> {
    let mut head = [0; FRAME_HEAD];
    file.read_exact_at(&mut head, offset).ok()?;
    let (length, sum) = head.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= MAX_PAYLOAD)?;
    let mut payload = vec![0; length];
    file.read_exact_at(&mut payload, offset + FRAME_HEAD as u64).ok()?;
    (checksum(&payload) == sum).then_some(payload)
}

/// Whether anything but zeros stands behind the last whole frame of a file.
pub(crate) fn has_rest(file: &[u8]) -> bool {
    let end = frames(file).last().map_or(HEAD as u64, |(_, to, _)| to);
    usize::try_from(end).ok().and_then(|end| file.get(end..)).is_none_or(|rest| rest.iter().any(|byte| *byte != 0))
}

pub(crate) fn split_payload(mut payload: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (record, after) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        records.push(record);
        payload = after;
    }
    Some(records)
}

/// The number in a file's head.
fn number_of(file: &[u8]) -> Option<u64> {
    let (number, _) = file.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    Some(u64::from_be_bytes(*number))
}

/// A part of a damaged file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The records of a whole frame.
    Records(Vec<&'a [u8]>),
    /// Bytes that are not readable, and their number of records if it is known.
    Lost(Option<u64>),
}

/// The number of a damaged file, if its head is readable, and its parts in order, without a torn tail.
pub(crate) fn salvage(file: &[u8]) -> (Option<u64>, Vec<Part<'_>>) {
    let number = number_of(file);
    let mut rest = file.get(HEAD..).unwrap_or_default();
    let mut parts = vec![];
    if number.is_none() {
        parts.push(Part::Lost(None));
    }
    let whole = |bytes| frame(bytes).and_then(|(payload, after)| Some((split_payload(payload)?, after)));
    let whole = |bytes| whole(bytes).filter(|(records, _)| !records.is_empty());
    loop {
        if let Some((records, after)) = whole(rest) {
            parts.push(Part::Records(records));
            rest = after;
            continue;
        }
        let next = (1..rest.len()).find(|skip| rest.get(*skip..).is_some_and(|tail| whole(tail).is_some()));
        let Some(next) = next else { return (number, parts) };
        let (lost, after) = rest.split_at(next);
        // Its length may be intact, and those of its records.
        let inside = lost.get(FRAME_HEAD..).filter(|payload| {
            lost.first_chunk::<4>().is_some_and(|length| u32::from_be_bytes(*length) as usize == payload.len())
        });
        parts.push(Part::Lost(inside.and_then(split_payload).map(|records| records.len() as u64)));
        rest = after;
    }
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    digest(&SHA256, payload).as_ref().first_chunk::<8>().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let mut wal = Wal::create(&Disk::of_machine(), &path, 7, []).unwrap();
        let mut ends = vec![];
        for record in ["one", "two", "three"] {
            wal.append([[record.as_bytes()]]).unwrap();
            ends.push(usize::try_from(wal.len()).unwrap());
        }
        drop(wal);
        let whole = std::fs::read(&path).unwrap();
        assert!(whole.len() > ends[2], "zeros stand ahead");
        for cut in (16..ends[2] + 40).chain([whole.len()]) {
            let expected = ends.iter().filter(|end| **end <= cut).count();
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (_, number, records) = Wal::open(&Disk::of_machine(), &path).unwrap().unwrap();
            assert_eq!((number, records.len()), (7, expected), "cut at {cut}");
            // A torn append whose later pages reached the disk and whose earlier ones did not.
            let mut holed = whole.clone();
            holed[cut.min(ends[2] - 1)..ends[2]].fill(0);
            std::fs::write(&path, &holed).unwrap();
            assert!(
                Wal::open(&Disk::of_machine(), &path).unwrap().unwrap().2.len() >= expected.min(2),
                "zeros from {cut}"
            );
        }
        let mut broken = whole.clone();
        broken[16 + FRAME_HEAD] ^= 1;
        std::fs::write(&path, &broken).unwrap();
        assert!(matches!(Wal::open(&Disk::of_machine(), &path), Err(DiskError::Damaged { .. })));
    }

    #[test]
    fn a_batch_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let mut wal = Wal::create(&Disk::of_machine(), &path, 0, []).unwrap();
        wal.append([[&b"a"[..]], [b"b"]]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let end = usize::try_from(wal.len()).unwrap();
        for cut in 16..end {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Wal::open(&Disk::of_machine(), &path).unwrap().unwrap().2.is_empty(), "cut at {cut}");
        }
    }
}
