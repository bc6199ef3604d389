//! Parses event logs: crypto-agile ones and the older SHA-1 form (TCG PC Client Platform Firmware Profile, §10).

use std::collections::BTreeMap;

use crate::bytes::{Malformed, Reader};
use crate::hash::HashAlgorithm;

pub(super) const NO_ACTION: u32 = 3;
const SPEC_ID: &[u8] = b"Spec ID Event";
const AGILE_SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const SHA1_BYTES: usize = 20;
const MAX_LOG_BYTES: usize = 4 * 1024 * 1024;
const MAX_EVENTS: usize = 16_384;
const MAX_ALGORITHMS: u32 = 16;
const MAX_PCR: u32 = 23;

/// How the log's events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One SHA-1 digest an event.
    Sha1,
    /// A digest for each bank.
    CryptoAgile,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub pcr: u8,
    pub kind: u32,
    pub digests: BTreeMap<HashAlgorithm, Vec<u8>>,
    pub data: Vec<u8>,
}

impl Event {
    /// Whether it extended its PCR. Others only inform.
    pub const fn is_measured(&self) -> bool {
        self.kind != NO_ACTION
    }
}

/// A whole log, without its leading Spec ID event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    pub format: Format,
    /// The banks whose digests the log has, of those known here.
    pub banks: Vec<HashAlgorithm>,
    pub events: Vec<Event>,
}

impl EventLog {
    /// Reads a log of at most 4 MiB and 16,384 events.
    ///
    /// # Errors
    /// A log that is larger, ends inside an event, or names a PCR above 23.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("event log", bytes);
        if bytes.len() > MAX_LOG_BYTES {
            return Err(reader.refusal("it is larger than 4 MiB"));
        }
        if reader.is_empty() {
            return Err(reader.refusal("it is empty"));
        }
        let first = sha1_event(&mut reader)?;
        let is_spec_id = first.kind == NO_ACTION && first.data.starts_with(SPEC_ID);
        if first.data.get(..16) == Some(AGILE_SIGNATURE.as_slice()) && is_spec_id {
            return agile(&mut reader, &first.data);
        }
        let mut events = if is_spec_id { Vec::new() } else { vec![first] };
        read_all(&mut reader, &mut events, sha1_event)?;
        Ok(Self { format: Format::Sha1, banks: vec![HashAlgorithm::Sha1], events })
    }
}

fn read_all<'a>(
    reader: &mut Reader<'a>,
    events: &mut Vec<Event>,
    one: impl Fn(&mut Reader<'a>) -> Result<Event, Malformed>,
) -> Result<(), Malformed> {
    while !reader.is_empty() {
        if events.len() == MAX_EVENTS {
            return Err(reader.refusal("it has more than 16,384 events"));
        }
        events.push(one(reader)?);
    }
    Ok(())
}

fn head(reader: &mut Reader<'_>) -> Result<(u8, u32), Malformed> {
    let pcr = reader.u32_le()?;
    let kind = reader.u32_le()?;
    // Events that extend nothing may name no PCR at all.
    let named = if kind == NO_ACTION && pcr == u32::MAX { 0 } else { pcr };
    let pcr = u8::try_from(named).ok().filter(|_| named <= MAX_PCR);
    Ok((pcr.ok_or_else(|| reader.refusal("an event names a PCR above 23"))?, kind))
}

/// `TCG_PCClientPCREvent`
fn sha1_event(reader: &mut Reader<'_>) -> Result<Event, Malformed> {
    let (pcr, kind) = head(reader)?;
    let digest = reader.bytes(SHA1_BYTES)?.to_vec();
    let data = reader.sized_le(MAX_LOG_BYTES)?.to_vec();
    Ok(Event { pcr, kind, digests: BTreeMap::from([(HashAlgorithm::Sha1, digest)]), data })
}

/// The rest of a crypto-agile log, after its `TCG_EfiSpecIDEvent`.
fn agile(reader: &mut Reader<'_>, spec_id: &[u8]) -> Result<EventLog, Malformed> {
    let sizes = sizes(spec_id)?;
    let mut events = Vec::new();
    read_all(reader, &mut events, |reader| agile_event(reader, &sizes))?;
    let banks = sizes.keys().filter_map(|id| HashAlgorithm::of_id(*id)).collect();
    Ok(EventLog { format: Format::CryptoAgile, banks, events })
}

/// The length in bytes of each algorithm's digests.
fn sizes(spec_id: &[u8]) -> Result<BTreeMap<u16, usize>, Malformed> {
    let mut reader = Reader::new("Spec ID event", spec_id);
    // The signature, the platform's class, the version and errata, and the size of an integer.
    reader.bytes(16 + 4 + 3 + 1)?;
    let count = reader.u32_le()?;
    if count == 0 || count > MAX_ALGORITHMS {
        return Err(reader.refusal("it has no algorithm, or more than 16"));
    }
    let mut sizes = BTreeMap::new();
    for _ in 0..count {
        let (id, size) = (reader.u16_le()?, usize::from(reader.u16_le()?));
        if HashAlgorithm::of_id(id).is_some_and(|known| known.digest_len() != size) {
            return Err(reader.refusal("a digest has not the length of its algorithm"));
        }
        if sizes.insert(id, size).is_some() {
            return Err(reader.refusal("it names an algorithm twice"));
        }
    }
    let vendor = usize::from(reader.u8()?);
    reader.bytes(vendor)?;
    reader.finish()?;
    Ok(sizes)
}

/// `TCG_PCR_EVENT2`
fn agile_event(reader: &mut Reader<'_>, sizes: &BTreeMap<u16, usize>) -> Result<Event, Malformed> {
    let (pcr, kind) = head(reader)?;
    let count = reader.u32_le()?;
    if count > MAX_ALGORITHMS {
        return Err(reader.refusal("an event has more than 16 digests"));
    }
    let mut digests = BTreeMap::new();
    for _ in 0..count {
        let id = reader.u16_le()?;
        let size = sizes.get(&id).ok_or_else(|| reader.refusal("a digest's algorithm is not in the Spec ID event"))?;
        let digest = reader.bytes(*size)?.to_vec();
        let Some(bank) = HashAlgorithm::of_id(id) else { continue };
        if digests.insert(bank, digest).is_some() {
            return Err(reader.refusal("an event has two digests for one bank"));
        }
    }
    Ok(Event { pcr, kind, digests, data: reader.sized_le(MAX_LOG_BYTES)?.to_vec() })
}
