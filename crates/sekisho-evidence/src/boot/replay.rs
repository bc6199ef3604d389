//! Replays an event log: the values that its measurements give the PCRs.

use std::collections::BTreeMap;

use super::log::{EventLog, NO_ACTION};
use crate::hash::HashAlgorithm;

const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Why a log gives no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("the event log has no digest of bank {0} for its event {1}")]
    NoDigest(&'static str, usize),
    #[error("the event log states the startup locality twice, or after a measurement into PCR 0")]
    Locality,
}

impl EventLog {
    /// The locality that started the TPM, if the log states it. PCR 0 begins with it.
    pub fn startup_locality(&self) -> Option<u8> {
        self.events.iter().filter(|event| event.kind == NO_ACTION).find_map(|event| locality(&event.data))
    }

    /// The values of all PCRs into which the log measures, in one bank. Others keep their initial zeros.
    ///
    /// # Errors
    /// An event without a digest for the bank, or two different starts of PCR 0.
    pub fn replay(&self, bank: HashAlgorithm) -> Result<BTreeMap<u8, Vec<u8>>, ReplayError> {
        let mut pcrs: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        let zeros = || vec![0; bank.digest_len()];
        let mut has_locality = false;
        for (index, event) in self.events.iter().enumerate() {
            if event.kind == NO_ACTION {
                if let Some(locality) = locality(&event.data) {
                    if has_locality || pcrs.contains_key(&0) {
                        return Err(ReplayError::Locality);
                    }
                    has_locality = true;
                    let mut start = zeros();
                    start.last_mut().into_iter().for_each(|last| *last = locality);
                    pcrs.insert(0, start);
                }
                continue;
            }
            let digest = event.digests.get(&bank).ok_or(ReplayError::NoDigest(bank.name(), index))?;
            bank.extend(pcrs.entry(event.pcr).or_insert_with(zeros), digest);
        }
        Ok(pcrs)
    }
}

fn locality(data: &[u8]) -> Option<u8> {
    match data.strip_prefix(STARTUP_LOCALITY)? {
        [locality] => Some(*locality),
        _ => None,
    }
}
