//! What the server asks of a node with a TPM, beside the credential: a fresh quote, and the logs that explain it.

use sekisho_types::{Digest, parse_strict_json};

use super::tpm_messages::{MAX_MESSAGE_BYTES, TpmChallenge, member, object, text};
use crate::tpm::Public;

/// The longest part of a log in one message.
pub const MAX_PART_BYTES: usize = 1024 * 1024;
const LABEL: &[u8] = b"sekisho tpm state 1";

/// A log that explains PCRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// The firmware's, as the kernel keeps it.
    Event,
    /// The kernel's own measurements.
    Ima,
}

impl Log {
    const ALL: [(Self, &'static str); 2] = [(Self::Event, "event"), (Self::Ima, "ima")];

    const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Ima => "ima",
        }
    }
}

/// What the server sends while a node proves itself by its TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmRequest {
    /// To open a credential and to quote.
    Activate(TpmChallenge),
    /// To quote with an attestation key that is known.
    Quote { nonce: [u8; 32] },
    /// To send a log from this byte on.
    Log { log: Log, from: u64 },
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPart {
    /// The node has no such log.
    Absent,
    Last(Vec<u8>),
    /// More of the log follows.
    More(Vec<u8>),
}

/// What a quote for a known attestation key signs beside the PCRs: the server's nonce, the key of the node's SVID, and
/// the connection on which it was asked for.
pub fn state_binding(nonce: &[u8; 32], ak: &Public, key: &Digest, exporter: &[u8; 32]) -> Vec<u8> {
    let ak = crate::sha256(&ak.name());
    crate::sha256(&[LABEL, nonce, ak.as_bytes(), key.as_bytes(), exporter].concat()).as_bytes().to_vec()
}

impl TpmRequest {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Activate(challenge) => challenge.encode(),
            Self::Quote { nonce } => object([("nonce", text(nonce))]),
            Self::Log { log, from } => object([("log", log.name().into()), ("from", (*from).into())]),
        }
    }

    /// `None`: none of these messages.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = parse_strict_json(bytes, MAX_MESSAGE_BYTES).ok()?;
        if let Some(log) = message.get("log") {
            let (log, _) = Log::ALL.into_iter().find(|(_, name)| log.as_str() == Some(name))?;
            return Some(Self::Log { log, from: message.get("from")?.as_u64()? });
        }
        match message.get("credential") {
            Some(_) => TpmChallenge::decode(bytes).map(Self::Activate),
            None => Some(Self::Quote { nonce: member(&message, "nonce")?.try_into().ok()? }),
        }
    }
}

impl LogPart {
    /// One byte that says which, and the log's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Absent => vec![0],
            Self::Last(bytes) => [&[1], bytes.as_slice()].concat(),
            Self::More(bytes) => [&[2], bytes.as_slice()].concat(),
        }
    }

    /// `None`: not this message, or longer than a part may be.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, part) = bytes.split_first().filter(|(_, part)| part.len() <= MAX_PART_BYTES)?;
        match kind {
            0 if part.is_empty() => Some(Self::Absent),
            1 => Some(Self::Last(part.to_vec())),
            2 => Some(Self::More(part.to_vec())),
            _ => None,
        }
    }
}
