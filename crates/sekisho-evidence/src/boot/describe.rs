//! Events in words, for records and tables.

use super::Event;

const MAX_TEXT: usize = 64;
/// Names of types of events (TCG PC Client Platform Firmware Profile, §10.4.1).
const KINDS: [(u32, &str); 22] = [
    (0x0000_0001, "EV_POST_CODE"),
    (0x0000_0003, "EV_NO_ACTION"),
    (0x0000_0004, "EV_SEPARATOR"),
    (0x0000_0005, "EV_ACTION"),
    (0x0000_0006, "EV_EVENT_TAG"),
    (0x0000_0007, "EV_S_CRTM_CONTENTS"),
    (0x0000_0008, "EV_S_CRTM_VERSION"),
    (0x0000_000a, "EV_PLATFORM_CONFIG_FLAGS"),
    (0x0000_000b, "EV_TABLE_OF_DEVICES"),
    (0x0000_000c, "EV_COMPACT_HASH"),
    (0x0000_000d, "EV_IPL"),
    (0x0000_0012, "EV_OMIT_BOOT_DEVICE_EVENTS"),
    (0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
];

impl Event {
    /// Its type, and the text that the log has with it. Neither is proof: the writer of the log chooses both.
    pub fn named(&self) -> String {
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        let kind = kind.map_or_else(|| format!("event type {:#x}", self.kind), |(_, name)| (*name).to_owned());
        match text(&self.data) {
            Some(text) => format!("{kind} `{text}`"),
            None => kind,
        }
    }
}

/// Printable ASCII, as it is or in UTF-16, with or without a final NUL.
fn text(data: &[u8]) -> Option<String> {
    let units: Vec<u8> = match data {
        [_, 0, ..] => data
            .chunks_exact(2)
            .map(|pair| match pair {
                [low, 0] => *low,
                _ => 0xff,
            })
            .collect(),
        _ => data.to_vec(),
    };
    let plain = units.strip_suffix(&[0]).unwrap_or(&units);
    let is_text = !plain.is_empty() && plain.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_text.then(|| plain.iter().take(MAX_TEXT).map(|byte| char::from(*byte)).collect())
}
