//! Platform configuration registers: which a quote covers, and their values.

use std::collections::BTreeMap;

use crate::bytes::{Malformed, Reader};
use crate::hash::HashAlgorithm;

/// PCRs 0 to 23 exist; a selection has 3 bytes of bits, or up to 4.
const MAX_SELECT: u8 = 4;
const MAX_BANKS: u32 = 16;

/// The PCRs of one bank, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection {
    pub bank: HashAlgorithm,
    bits: u32,
}

impl PcrSelection {
    pub fn new(bank: HashAlgorithm, indices: impl IntoIterator<Item = u8>) -> Self {
        let bits = indices.into_iter().filter(|index| *index < 32).fold(0, |bits, index| bits | 1 << index);
        Self { bank, bits }
    }

    pub const fn has(self, index: u8) -> bool {
        index < 32 && self.bits & (1 << index) != 0
    }

    /// In rising order.
    pub fn indices(self) -> impl Iterator<Item = u8> {
        (0..32).filter(move |index| self.has(*index))
    }
}

/// Reads a `TPML_PCR_SELECTION` that selects PCRs of one bank.
pub(super) fn selections(reader: &mut Reader<'_>) -> Result<PcrSelection, Malformed> {
    let count = reader.u32_be()?;
    if count > MAX_BANKS {
        return Err(reader.refusal("it selects more banks than a TPM has"));
    }
    let mut found: Option<PcrSelection> = None;
    for _ in 0..count {
        let bank = reader.u16_be()?;
        let size = reader.u8()?;
        if size > MAX_SELECT {
            return Err(reader.refusal("a selection is longer than 32 PCRs"));
        }
        let bytes = reader.bytes(usize::from(size))?;
        let bits = bytes.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        if bits == 0 {
            continue;
        }
        let bank = HashAlgorithm::of_id(bank).ok_or_else(|| reader.refusal("a bank's algorithm is not known here"))?;
        if found.replace(PcrSelection { bank, bits }).is_some() {
            return Err(reader.refusal("it selects PCRs of more than one bank"));
        }
    }
    found.ok_or_else(|| reader.refusal("it selects no PCR"))
}

/// Values of PCRs of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValues {
    pub bank: HashAlgorithm,
    pub values: BTreeMap<u8, Vec<u8>>,
}

impl PcrValues {
    /// `pcrDigest` of a quote with this hash: the digest of all selected values in rising order. `None` if one is
    /// missing or has the length of another bank.
    pub fn digest(&self, selection: PcrSelection, hash: HashAlgorithm) -> Option<Vec<u8>> {
        if selection.bank != self.bank {
            return None;
        }
        let whole = |value: &&Vec<u8>| value.len() == self.bank.digest_len();
        let values = selection.indices().map(|index| self.values.get(&index).filter(whole).map(Vec::as_slice));
        Some(hash.digest(values.collect::<Option<Vec<_>>>()?))
    }
}
