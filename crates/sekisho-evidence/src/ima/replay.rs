//! Replays an IMA log against a quoted PCR 10.

use super::entry::{ImaEntry, ImaLog};
use crate::hash::HashAlgorithm;

/// PCR 10 while entries are added. A verifier keeps it between attestations, so that a node sends each entry once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    bank: HashAlgorithm,
    pcr: Vec<u8>,
    /// How many entries it rests on.
    pub entries: usize,
}

impl Replayed {
    /// PCR 10 after a reset.
    pub fn start(bank: HashAlgorithm) -> Self {
        Self { bank, pcr: vec![0; bank.digest_len()], entries: 0 }
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
