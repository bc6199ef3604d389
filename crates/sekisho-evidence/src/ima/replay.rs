//! Replays an IMA log against a quoted PCR 10.

use super::binary::{entry_bytes, first_entry};
use super::entry::{ImaEntry, ImaLog};
use crate::bytes::Malformed;
use crate::hash::HashAlgorithm;

/// Bytes of a log. A kernel keeps it in memory.
const LONGEST_LOG: u64 = 1 << 40;

/// PCR 10 while entries are added. A verifier keeps it between attestations, so that a node sends each entry once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    bank: HashAlgorithm,
    pcr: Vec<u8>,
    /// How many entries it rests on.
    pub entries: usize,
    /// How long these are in the log's binary form: where the next entry begins.
    pub bytes: u64,
}

impl Replayed {
    /// PCR 10 after a reset.
    pub fn start(bank: HashAlgorithm) -> Self {
        Self { bank, pcr: vec![0; bank.digest_len()], entries: 0, bytes: 0 }
    }

    /// What a verifier kept. `None` if PCR 10 has not the length of the bank, or no log can be so long.
    pub fn kept(bank: HashAlgorithm, pcr: Vec<u8>, entries: usize, bytes: u64) -> Option<Self> {
        let is_possible = pcr.len() == bank.digest_len() && bytes <= LONGEST_LOG && entries as u64 <= bytes;
        is_possible.then_some(Self { bank, pcr, entries, bytes })
    }

    pub fn value(&self) -> &[u8] {
        &self.pcr
    }

    fn add(&mut self, entry: &ImaEntry) {
        let digest = match (entry.is_violation, self.bank) {
            (true, _) => vec![0xff; self.bank.digest_len()],
            (false, HashAlgorithm::Sha1) => entry.sha1.clone(),
            (false, bank) => bank.digest([entry.data.as_slice()]),
        };
        self.bank.extend(&mut self.pcr, &digest);
        self.entries += 1;
        self.bytes += entry_bytes(entry) as u64;
    }

    /// Adds entries of a part of the log's binary form until PCR 10 has the `quoted` value; whether it has. The part
    /// begins at [`Self::bytes`] and may end inside an entry, with which the next part begins. Entries after the quoted
    /// value came later than the quote, and are not looked at.
    ///
    /// # Errors
    /// As for a whole log. The entries before the one that is refused were added.
    pub fn take_part(
        &mut self,
        part: &[u8],
        quoted: &[u8],
        mut each: impl FnMut(&ImaEntry),
    ) -> Result<bool, Malformed> {
        let mut rest = part;
        while self.pcr != quoted
            && let Some((entry, after)) = first_entry(rest)?
        {
            self.add(&entry);
            each(&entry);
            rest = after;
        }
        Ok(self.pcr == quoted)
    }

    /// Adds all entries.
    pub fn add_all(&mut self, log: &ImaLog) {
        log.entries.iter().for_each(|entry| self.add(entry));
    }

    /// Adds entries until PCR 10 has the `quoted` value, and returns the entries that it vouches for. Entries after
    /// that came later than the quote: they prove nothing and are not returned.
    ///
    /// `None` if no prefix of the log has that value.
    pub fn up_to<'a>(&mut self, log: &'a ImaLog, quoted: &[u8]) -> Option<&'a [ImaEntry]> {
        let mut next = self.clone();
        let mut count = 0;
        while next.pcr != quoted {
            next.add(log.entries.get(count)?);
            count += 1;
        }
        *self = next;
        log.entries.get(..count)
    }
}
