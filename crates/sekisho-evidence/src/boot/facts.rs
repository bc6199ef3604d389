//! What a replayed event log says about a boot. Only what the TPM measured counts: the digests.

use super::log::EventLog;
use crate::hash::HashAlgorithm;

const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Invocation";
/// What some firmware measures into PCR 7 before `SecureBoot` (TCG PC Client Platform Firmware Profile, §3.3.4.8).
const DEBUG_MODE: &[u8] = b"UEFI Debug Mode";
/// The firmware's and the system's own name for the variable.
const SECURE_BOOT: &str = "SecureBoot";
/// `EFI_GLOBAL_VARIABLE`, as it lies in memory.
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// Facts of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFacts {
    pub event_count: usize,
    /// The variable `SecureBoot` as the firmware measured it first into PCR 7; `None` if it did not.
    pub secure_boot: Option<bool>,
    /// The firmware handed over to an operating system.
    pub exit_boot_services: bool,
}

impl BootFacts {
    /// Reads the facts by the digests of this bank.
    pub fn of(log: &EventLog, bank: HashAlgorithm) -> Self {
        let exit = bank.digest([EXIT_BOOT_SERVICES]);
        let mut of_firmware = log.events.iter().filter(|event| event.pcr == 5);
        Self {
            event_count: log.events.len(),
            secure_boot: secure_boot(log, bank),
            exit_boot_services: of_firmware.any(|event| event.digests.get(&bank) == Some(&exit)),
        }
    }
}

/// The value of `SecureBoot`, which the firmware measures into PCR 7 before all else. Only digests count: kind and data
/// of an event are not measured, and whatever comes later may be from the system that was booted.
fn secure_boot(log: &EventLog, bank: HashAlgorithm) -> Option<bool> {
    let debug_mode = bank.digest([DEBUG_MODE]);
    let measured = log.events.iter().filter(|event| event.pcr == 7 && event.is_measured());
    let first = measured.filter_map(|event| event.digests.get(&bank)).find(|digest| **digest != debug_mode)?;
    let is = |value: &[u8]| *first == bank.digest([secure_boot_variable(value).as_slice()]);
    if is(&[1]) {
        Some(true)
    } else {
        // A firmware without the variable measures its name.
        (is(&[0]) || is(&[])).then_some(false)
    }
}

/// `UEFI_VARIABLE_DATA` of `SecureBoot`.
fn secure_boot_variable(value: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = SECURE_BOOT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lengths = [SECURE_BOOT.len(), value.len()].map(|length| (length as u64).to_le_bytes()).concat();
    [GLOBAL_VARIABLE.as_slice(), &lengths, &name, value].concat()
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
