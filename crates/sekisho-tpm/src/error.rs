//! Why a TPM does not do what it was asked.

use sekisho_evidence::Malformed;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    #[error("the TPM cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("the TPM refused {command}: {}", explained(*.code))]
    Refused { command: &'static str, code: u32 },
    #[error("the TPM's answer to {command}: {error}")]
    Answer { command: &'static str, error: Malformed },
    #[error("the TPM has been busy for too long")]
    Busy,
    #[error("the TPM made another kind of key than was asked for")]
    NoSigningKey,
    #[error("an argument of {0} is longer than a TPM accepts")]
    TooLong(&'static str),
}

impl TpmError {
    /// What was to be read is of another TPM, or was changed: `TPM_RC_INTEGRITY`, whatever the parameter.
    pub const fn is_foreign(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code & 0x080 != 0 && *code & 0x0bf == 0x9f)
    }
}

/// The response codes that a person can do something about (part 2, §6.6).
fn explained(code: u32) -> String {
    // Codes of format one carry the number of a handle, session or parameter beside the error.
    let meaning = match (code & 0x080 != 0, code & 0x0bf, code) {
        (true, 0x8b, _) => "it has no such object",
        (true, 0x8e | 0xa2, _) => "an authorization value is wrong; this program expects empty ones",
        (true, 0x9d, _) => "the key's policy is not satisfied",
        (true, 0x9f, _) => "the bytes were made for another TPM or another key, or were changed",
        (false, _, 0x902) => "its memory for objects is full; use the resource manager, /dev/tpmrm0",
        (false, _, 0x921) => "it is locked after wrong authorizations; wait, or clear the lockout",
        _ => "see TPM 2.0 Library, part 2, section 6.6",
    };
    format!("code {code:#05x}, {meaning}")
}
