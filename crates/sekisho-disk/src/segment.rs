//! One frame of a segment: a batch of records, or those of them that are kept here, with what proves their place in the
//! batch.

use std::collections::BTreeMap;
use std::ops::{BitOr, Range};

use bytes::{Buf, BufMut, Bytes};
use sekisho_ledger::{BatchPath, Frontier, Hash, inclusion_path, leaf_hash, node_hash};

/// Most bytes of records in one frame, unpacked.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;
/// Bytes of a head that the release before this one wrote: the frame holds a whole batch, without positions and hashes.
const OLD_HEAD: usize = 41;

/// A record with what it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedRecord {
    /// Sorts by time: 48 bits of Unix milliseconds come first.
    pub key: u128,
    /// What kind of record it is, below 8.
    pub class: u8,
    pub record: Bytes,
}

/// What may be found in a frame or in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Summary {
    pub oldest: u128,
    pub newest: u128,
    /// One bit for each class.
    pub classes: u8,
}

impl Summary {
    pub(crate) const NOTHING: Self = Self { oldest: u128::MAX, newest: 0, classes: 0 };

    fn of<'a>(records: impl Iterator<Item = &'a IndexedRecord>) -> Self {
        let one = |kept: &IndexedRecord| Self { oldest: kept.key, newest: kept.key, classes: class_bit(kept.class) };
        records.map(one).fold(Self::NOTHING, BitOr::bitor)
    }

    /// In a file's name.
    pub(crate) fn to_name(self) -> String {
        format!("{:032x}-{:032x}-{:02x}", self.oldest, self.newest, self.classes)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let mut key = || u128::from_str_radix(parts.next()?, 16).ok();
        let (oldest, newest) = (key()?, key()?);
        Some(Self { oldest, newest, classes: u8::from_str_radix(parts.next()?, 16).ok()? })
    }
}

impl BitOr for Summary {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        let classes = self.classes | other.classes;
        Self { oldest: self.oldest.min(other.oldest), newest: self.newest.max(other.newest), classes }
    }
}

pub(crate) const fn class_bit(class: u8) -> u8 {
    1 << (class & 7)
}

/// A frame as it stands in a file: the head in the clear, the rest packed.
pub(crate) struct Frame {
    pub head: Vec<u8>,
    pub packed: Vec<u8>,
    pub summary: Summary,
}

/// A batch's tree: by level the hashes of all complete subtrees.
pub(crate) struct BatchTree(Vec<Vec<Hash>>);

impl BatchTree {
    pub(crate) fn of(records: &[IndexedRecord]) -> Self {
        let mut levels: Vec<Vec<Hash>> = vec![];
        let mut frontier = Frontier::default();
        for kept in records {
            frontier.push(leaf_hash(&kept.record), |level, _, hash| {
                levels.resize(levels.len().max(usize::from(level) + 1), vec![]);
                if let Some(row) = levels.get_mut(usize::from(level)) {
                    row.push(*hash);
                }
            });
        }
        Self(levels)
    }

    /// The hashes that stand for what is not kept of `range`: the largest subtrees without a kept record.
    fn prune(&self, range: Range<u64>, is_kept: &dyn Fn(u64) -> bool, out: &mut Vec<(u8, u32, Hash)>) {
        let width = range.end - range.start;
        let whole = width.is_power_of_two();
        if range.clone().any(is_kept) || !whole {
            if width > 1 {
                let split = range.start + (1 << (63 - (width - 1).leading_zeros()));
                self.prune(range.start..split, is_kept, out);
                self.prune(split..range.end, is_kept, out);
            }
            return;
        }
        let level = width.trailing_zeros() as u8;
        let index = range.start >> level;
        let row = self.0.get(usize::from(level));
        let hash = row.and_then(|row| row.get(usize::try_from(index).ok()?));
        out.extend(hash.map(|hash| (level, index as u32, *hash)));
    }
}

impl Frame {
    /// Packs the records of a batch for which `is_kept` holds.
    pub(crate) fn pack(
        log_index: u64,
        records: &[IndexedRecord],
        tree: &BatchTree,
        is_kept: impl Fn(&IndexedRecord) -> bool,
    ) -> Self {
        let kept = || (0u32..).zip(records).filter(|(_, record)| is_kept(record));
        let summary = Summary::of(kept().map(|(_, record)| record));
        let mut head = vec![];
        head.put_u64(log_index);
        head.put_u128(summary.oldest);
        head.put_u128(summary.newest);
        head.put_u8(summary.classes);
        head.put_u32(records.len() as u32);
        let mut hashes = vec![];
        let at = |position: u64| records.get(usize::try_from(position).unwrap_or(usize::MAX)).is_some_and(&is_kept);
        if !records.is_empty() {
            tree.prune(0..records.len() as u64, &at, &mut hashes);
        }
        let size: usize = kept().map(|(_, record)| record.record.len() + 25).sum();
        let mut plain = Vec::with_capacity(4 + hashes.len() * 37 + size);
        plain.put_u32(hashes.len() as u32);
        for (level, index, hash) in hashes {
            plain.put_u8(level);
            plain.put_u32(index);
            plain.put_slice(&hash);
        }
        for (position, record) in kept() {
            plain.put_u32(position);
            put_record(&mut plain, record);
        }
        Self { head, packed: lz4_flex::compress_prepend_size(&plain), summary }
    }
}

fn put_record(plain: &mut Vec<u8>, kept: &IndexedRecord) {
    plain.put_u128(kept.key);
    plain.put_u8(kept.class);
    plain.put_u32(u32::try_from(kept.record.len()).unwrap_or(u32::MAX));
    plain.put_slice(&kept.record);
}

/// A frame that was read.
pub(crate) struct Stored {
    /// The leaf that holds the root of the batch.
    pub log_index: u64,
    pub summary: Summary,
    size: Option<u32>,
    packed: Bytes,
}

impl Stored {
    /// From the parts of a frame.
    pub(crate) fn read(head: &[u8], packed: Bytes) -> Option<Self> {
        let mut rest = head;
        let log_index = rest.try_get_u64().ok()?;
        let (oldest, newest) = (rest.try_get_u128().ok()?, rest.try_get_u128().ok()?);
        let summary = Summary { oldest, newest, classes: rest.try_get_u8().ok()? };
        let size = if head.len() == OLD_HEAD { None } else { Some(rest.try_get_u32().ok()?) };
        Some(Self { log_index, summary, size, packed })
    }

    pub(crate) fn unpack(&self) -> Option<Part> {
        let (length, _) = self.packed.split_first_chunk::<4>()?;
        // Before memory is taken for it.
        usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_UNPACKED)?;
        let mut plain = Bytes::from(lz4_flex::decompress_size_prepended(&self.packed).ok()?);
        let mut part = Part { log_index: self.log_index, size: 0, hashes: BTreeMap::new(), records: vec![] };
        if self.size.is_some() {
            for _ in 0..plain.try_get_u32().ok()? {
                let (level, index) = (plain.try_get_u8().ok()?, plain.try_get_u32().ok()?);
                let hash = plain.split_to(Some(32).filter(|length| *length <= plain.len())?);
                part.hashes.insert((level, u64::from(index)), hash.as_ref().try_into().ok()?);
            }
        }
        while plain.has_remaining() {
            let next = part.records.len() as u32;
            let position = if self.size.is_some() { plain.try_get_u32().ok()? } else { next };
            let (key, class) = (plain.try_get_u128().ok()?, plain.try_get_u8().ok()?);
            let length = usize::try_from(plain.try_get_u32().ok()?).ok().filter(|length| *length <= plain.len())?;
            part.records.push((position, IndexedRecord { key, class, record: plain.split_to(length) }));
        }
        part.size = self.size.map_or(part.records.len() as u64, u64::from);
        Some(part)
    }
}

/// What a frame holds of a batch.
pub(crate) struct Part {
    pub log_index: u64,
    size: u64,
    hashes: BTreeMap<(u8, u64), Hash>,
    /// With their positions in the batch, in order.
    pub records: Vec<(u32, IndexedRecord)>,
}

impl Part {
    /// What leads from the record at `position` to the batch's root.
    pub(crate) fn path(&self, position: u32) -> Option<BatchPath> {
        let index = u64::from(position);
        let path = inclusion_path(index, self.size, &|level, index| self.subtree(level, index)).ok()?;
        Some(BatchPath { index, size: self.size, path })
    }

    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        if let Some(hash) = self.hashes.get(&(level, index)) {
            return Some(*hash);
        }
        if level > 0 {
            return Some(node_hash(&self.subtree(level - 1, 2 * index)?, &self.subtree(level - 1, 2 * index + 1)?));
        }
        let at = self.records.binary_search_by_key(&index, |(position, _)| u64::from(*position)).ok()?;
        self.records.get(at).map(|(_, kept)| leaf_hash(&kept.record))
    }
}

#[cfg(test)]
mod tests {
    use sekisho_ledger::Batch;

    use super::*;

    #[test]
    fn a_record_proves_its_place_in_its_batch() {
        for size in [1usize, 2, 3, 7, 64, 100, 255] {
            let record = |n: usize| IndexedRecord { key: n as u128, class: 0, record: format!("record {n}").into() };
            let records: Vec<_> = (0..size).map(record).collect();
            let root = Batch::of(records.iter().map(|kept| kept.record.as_ref())).root();
            for step in [1u128, 2, 5, 50] {
                let frame = Frame::pack(9, &records, &BatchTree::of(&records), |kept| kept.key % step == 0);
                let part = Stored::read(&frame.head, frame.packed.into()).unwrap().unpack().unwrap();
                assert_eq!(part.records.len(), size.div_ceil(usize::try_from(step).unwrap()));
                for (position, kept) in &part.records {
                    part.path(*position).unwrap().verify(&kept.record, &root).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_frame_of_the_release_before_is_read() {
        let records: Vec<_> =
            (0..5u128).map(|key| IndexedRecord { key, class: 1, record: format!("r{key}").into() }).collect();
        let (mut head, mut plain) = (vec![], vec![]);
        head.put_u64(3);
        head.put_u128(0);
        head.put_u128(4);
        head.put_u8(2);
        records.iter().for_each(|kept| put_record(&mut plain, kept));
        let part = Stored::read(&head, lz4_flex::compress_prepend_size(&plain).into()).unwrap().unpack().unwrap();
        let root = Batch::of(records.iter().map(|kept| kept.record.as_ref())).root();
        for (position, kept) in &part.records {
            part.path(*position).unwrap().verify(&kept.record, &root).unwrap();
        }
        assert_eq!(part.records.len(), 5);
    }
}
