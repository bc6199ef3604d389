//! What a TPM signs about itself: `TPMS_ATTEST` (TPM 2.0 Library, part 2, §10.12.8).

use super::pcr::{PcrSelection, selections};
use crate::bytes::{Malformed, Reader};

/// `TPM_GENERATED_VALUE`. A restricted key signs nothing from outside that begins with it.
const MAGIC: u32 = 0xff54_4347;
const CERTIFY: u16 = 0x8017;
const QUOTE: u16 = 0x8018;
/// A digest with its algorithm identifier.
const MAX_NAME: usize = 66;

/// An attestation structure: who signed it, what for, when, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// The qualified name of the signing key.
    pub qualified_signer: Vec<u8>,
    /// The caller's `qualifyingData`.
    pub extra_data: Vec<u8>,
    pub clock: ClockInfo,
    pub firmware_version: u64,
    pub body: Attested,
}

/// `TPMS_CLOCK_INFO`. The counters are true only for keys of the endorsement and platform hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered.
    pub clock: u64,
    /// How often the TPM was reset: each boot of the machine.
    pub reset_count: u32,
    /// How often it was restarted or resumed since the reset.
    pub restart_count: u32,
    /// No larger clock value was ever reported.
    pub safe: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested {
    Quote { selection: PcrSelection, digest: Vec<u8> },
    Certify { name: Vec<u8> },
}

impl Attest {
    /// Reads a quote or a certification.
    ///
    /// # Errors
    /// Another magic value or type, or bytes that are not a `TPMS_ATTEST`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMS_ATTEST", bytes);
        if reader.u32_be()? != MAGIC {
            return Err(reader.refusal("no TPM made it: the magic value is another"));
        }
        let kind = reader.u16_be()?;
        let qualified_signer = reader.sized_be(MAX_NAME)?.to_vec();
        let extra_data = reader.sized_be(MAX_NAME)?.to_vec();
        let clock = ClockInfo {
            clock: reader.u64_be()?,
            reset_count: reader.u32_be()?,
            restart_count: reader.u32_be()?,
            safe: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(reader.refusal("clockInfo.safe is neither 0 nor 1")),
            },
        };
        let firmware_version = reader.u64_be()?;
        let body = match kind {
            QUOTE => Attested::Quote { selection: selections(&mut reader)?, digest: reader.sized_be(64)?.to_vec() },
            CERTIFY => {
                let name = reader.sized_be(MAX_NAME)?.to_vec();
                reader.sized_be(MAX_NAME)?;
                Attested::Certify { name }
            }
            _ => return Err(reader.refusal("the type is neither a quote nor a certification")),
        };
        reader.finish()?;
        Ok(Self { qualified_signer, extra_data, clock, firmware_version, body })
    }
}
