//! What a replayed event log says about a boot. Only data that the TPM measured counts.

use super::log::EventLog;
use crate::bytes::Reader;
use crate::hash::HashAlgorithm;

const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EFI_ACTION: u32 = 0x8000_0007;
const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Invocation";
/// `EFI_GLOBAL_VARIABLE`, as it lies in memory.
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// Facts of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFacts {
    pub event_count: usize,
    /// The variable `SecureBoot` as the firmware measured it; `None` if it did not, or measured it twice differently.
    pub secure_boot: Option<bool>,
    /// The firmware handed over to an operating system.
    pub exit_boot_services: bool,
}

impl BootFacts {
    /// Reads the facts whose data has the digest of this bank.
    pub fn of(log: &EventLog, bank: HashAlgorithm) -> Self {
        let measured = || log.events.iter().filter(|event| event.data_is_measured(bank));
        let mut values = measured()
            .filter(|event| event.pcr == 7 && event.kind == VARIABLE_DRIVER_CONFIG)
            .filter_map(|event| secure_boot(&event.data));
        let first = values.next();
        Self {
            event_count: log.events.len(),
            secure_boot: first.filter(|first| values.all(|other| other == *first)),
            exit_boot_services: measured()
                .any(|event| event.pcr == 5 && event.kind == EFI_ACTION && event.data == EXIT_BOOT_SERVICES),
        }
    }
}

/// The value of `SecureBoot` in a `UEFI_VARIABLE_DATA`.
fn secure_boot(data: &[u8]) -> Option<bool> {
    let mut reader = Reader::new("UEFI_VARIABLE_DATA", data);
    let vendor = reader.bytes(16).ok()?;
    let (characters, length) = (length(&mut reader)?, length(&mut reader)?);
    let name = reader.bytes(characters.checked_mul(2)?).ok()?;
    let value = reader.bytes(length).ok()?;
    let wanted: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    match value {
        _ if vendor != GLOBAL_VARIABLE || name != wanted => None,
        [1] => Some(true),
        _ => Some(false),
    }
}

fn length(reader: &mut Reader<'_>) -> Option<usize> {
    let (low, high) = (reader.u32_le().ok()?, reader.u32_le().ok()?);
    usize::try_from(u64::from(high) << 32 | u64::from(low)).ok()
}

/// The PCRs into which this kernel command line was measured, as UTF-16 with a final NUL character.
pub fn measured_command_line(log: &EventLog, bank: HashAlgorithm, command_line: &str) -> Vec<u8> {
    let text: Vec<u8> = command_line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let wanted = bank.digest([text.as_slice()]);
    let mut pcrs: Vec<u8> =
        log.events.iter().filter(|event| event.digests.get(&bank) == Some(&wanted)).map(|event| event.pcr).collect();
    pcrs.sort_unstable();
    pcrs.dedup();
    pcrs
}
