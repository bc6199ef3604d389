//! What is appended to a log, and at which pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::DiskError;

/// Bytes that end a batch.
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// When tiles are written, and when they are made durable.
#[derive(Clone, Copy)]
pub(crate) struct TileSchedule {
    pub(crate) publish_every: Duration,
    /// The write-ahead file is emptied above this size.
    pub(crate) wal_bytes: u64,
}

/// The index of an entry, or of the first of several.
pub type Appended = Result<u64, Arc<DiskError>>;

/// An entry to be: a leaf, and side data that is kept beside it and not hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    pub leaf: Vec<u8>,
    pub side: Vec<u8>,
}

/// Begins a record of the write-ahead file that holds a number in the place of an entry: leaves are shorter.
const NO_ENTRY: [u8; 4] = u32::MAX.to_be_bytes();

/// A record of the write-ahead file.
pub(crate) enum Logged<'a> {
    Entry {
        leaf: &'a [u8],
        side: &'a [u8],
    },
    /// The entries before it are those of the outbox up to this number.
    Through(i64),
}

impl<'a> Logged<'a> {
    pub(crate) fn read(record: &'a [u8]) -> Option<Self> {
        let (head, rest) = record.split_first_chunk::<4>()?;
        if *head == NO_ENTRY {
            return rest.try_into().ok().map(|number| Self::Through(i64::from_be_bytes(number)));
        }
        let (leaf, side) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*head)).ok()?)?;
        Some(Self::Entry { leaf, side })
    }

    /// Its head, before the rest of it.
    pub(crate) const fn head(leaf: &[u8]) -> [u8; 4] {
        (leaf.len() as u32).to_be_bytes()
    }

    pub(crate) fn through(number: i64) -> [u8; 12] {
        let mut record = [0; 12];
        record.iter_mut().zip(NO_ENTRY.into_iter().chain(number.to_be_bytes())).for_each(|(to, from)| *to = from);
        record
    }
}

/// Entries that stand one behind the other in the log.
pub(crate) struct Append {
    pub(crate) entries: Vec<NewEntry>,
    /// The numbers that the entries have in an outbox, ascending; none if they come from no outbox.
    pub(crate) numbers: Vec<i64>,
    /// The write-ahead file is emptied before the answer, so that nothing comes back from it.
    pub(crate) settle: bool,
    pub(crate) done: oneshot::Sender<Appended>,
}

impl Append {
    /// Leaves out what the log holds already, whose last number from the outbox is `held`, and goes on from there.
    pub(crate) fn leave_out(&mut self, held: &mut Option<i64>) {
        let Some(last) = self.numbers.last().copied() else { return };
        if let Some(before) = *held {
            let mut numbers = std::mem::take(&mut self.numbers).into_iter();
            self.entries.retain(|_| numbers.next().is_some_and(|number| number > before));
        }
        self.numbers.clear();
        if held.is_none_or(|held| held < last) {
            *held = Some(last);
            self.numbers.push(last);
        }
    }
}

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    pub size: u64,
    /// Entries that came from the write-ahead file.
    pub replayed: u64,
    /// Up to which number it holds the leaves of the outbox; unknown in a log of an earlier release.
    pub outbox: Option<i64>,
}
