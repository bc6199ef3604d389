//! One segment of records: frames of a write-ahead file, each a batch with a head that says what may be found in it.

use std::ops::BitOr;

use bytes::{Buf, BufMut, Bytes};

/// Most bytes of records in one frame, unpacked.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// A record with what it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordKept {
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

    fn of(records: &[RecordKept]) -> Self {
        let one = |kept: &RecordKept| Self { oldest: kept.key, newest: kept.key, classes: class_bit(kept.class) };
        records.iter().map(one).fold(Self::NOTHING, BitOr::bitor)
    }

    pub(crate) fn holds_class(&self, class: Option<u8>) -> bool {
        class.is_none_or(|class| self.classes & class_bit(class) != 0)
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

const fn class_bit(class: u8) -> u8 {
    1 << (class & 7)
}

/// A batch as it stands in a frame: the head in the clear, the records packed.
pub(crate) struct Frame {
    pub head: Vec<u8>,
    pub packed: Vec<u8>,
    pub summary: Summary,
}

impl Frame {
    pub(crate) fn pack(log_index: u64, records: &[RecordKept]) -> Self {
        let summary = Summary::of(records);
        let mut head = vec![];
        head.put_u64(log_index);
        head.put_u128(summary.oldest);
        head.put_u128(summary.newest);
        head.put_u8(summary.classes);
        let size = records.iter().map(|kept| kept.record.len() + 21).sum();
        let mut plain = Vec::with_capacity(size);
        for kept in records {
            plain.put_u128(kept.key);
            plain.put_u8(kept.class);
            plain.put_u32(u32::try_from(kept.record.len()).unwrap_or(u32::MAX));
            plain.put_slice(&kept.record);
        }
        Self { head, packed: lz4_flex::compress_prepend_size(&plain), summary }
    }
}

/// A frame's head: the leaf that its records stand under, and what may be found.
pub(crate) fn read_head(mut head: &[u8]) -> Option<(u64, Summary)> {
    let log_index = head.try_get_u64().ok()?;
    let (oldest, newest) = (head.try_get_u128().ok()?, head.try_get_u128().ok()?);
    Some((log_index, Summary { oldest, newest, classes: head.try_get_u8().ok()? }))
}

/// The records of a frame, in the order in which they came.
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<RecordKept>> {
    let (size, _) = packed.split_first_chunk::<4>()?;
    // Before memory is taken for it.
    usize::try_from(u32::from_le_bytes(*size)).ok().filter(|size| *size <= MAX_UNPACKED)?;
    let mut plain = Bytes::from(lz4_flex::decompress_size_prepended(packed).ok()?);
    let mut records = vec![];
    while plain.has_remaining() {
        let (key, class) = (plain.try_get_u128().ok()?, plain.try_get_u8().ok()?);
        let length = usize::try_from(plain.try_get_u32().ok()?).ok().filter(|length| *length <= plain.len())?;
        records.push(RecordKept { key, class, record: plain.split_to(length) });
    }
    Some(records)
}
