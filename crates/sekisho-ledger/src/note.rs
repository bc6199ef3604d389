//! Signed notes (c2sp.org/signed-note) and the signature kinds of c2sp.org/tlog-cosignature.

use std::collections::BTreeSet;

use aws_lc_rs::signature::ML_DSA_44;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{SignError, SignatureAlgorithm, Signer};

use crate::{Checkpoint, sha256};

/// Longest note that is read, in bytes; a checkpoint with sixteen ML-DSA cosignatures fits.
const MAX_NOTE_BYTES: usize = 128 * 1024;
const MAX_SIGNATURES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the key is not written as name+hash+base64")]
    MalformedKey,
    #[error("the key's hash does not fit its name and bytes")]
    KeyHash,
    #[error("the key's signature kind 0x{0:02x} is not known here")]
    UnknownKind(u8),
    #[error("the note is longer than 128 KiB or has more than 64 signatures")]
    TooLong,
    #[error("the note has no signature block")]
    NoSignatures,
    #[error("a signature line is malformed")]
    MalformedSignature,
    #[error("a signature line stands in the note twice")]
    RepeatedSignature,
    #[error("the note holds a control character")]
    ControlCharacter,
    #[error("the signature by the known key `{0}` is wrong")]
    BadSignature(String),
}

/// What a signature signs and how (c2sp.org/signed-note, tlog-cosignature).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureKind {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x04: Ed25519 cosignature/v1, with a timestamp.
    Cosignature,
    /// 0x06: ML-DSA-44 over the subtree, with a timestamp.
    MlDsa44,
}

impl SignatureKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
            Self::MlDsa44 => 0x06,
        }
    }
}

/// A public key that signs notes: `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: SignatureKind,
    public: Vec<u8>,
}

impl VerifierKey {
    pub fn ed25519(name: &str, public: &[u8]) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), kind: SignatureKind::Ed25519, public: public.to_owned() })
    }

    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::MalformedKey);
        };
        check_name(name)?;
        let bytes = BASE64.decode(encoded).map_err(|_| NoteError::MalformedKey)?;
        let (&kind, public) = bytes.split_first().ok_or(NoteError::MalformedKey)?;
        let (kind, length) = match kind {
            0x01 => (SignatureKind::Ed25519, 32),
            0x04 => (SignatureKind::Cosignature, 32),
            0x06 => (SignatureKind::MlDsa44, 1312),
            other => return Err(NoteError::UnknownKind(other)),
        };
        if public.len() != length {
            return Err(NoteError::MalformedKey);
        }
        let key = Self { name: name.to_owned(), kind, public: public.to_owned() };
        if hash.len() != 8 || hash != hex::encode(key.id()) { Err(NoteError::KeyHash) } else { Ok(key) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// Whether the two are one public key, under whatever names and kinds (c2sp.org/tlog-policy, "duplicate").
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.public == other.public
    }

    pub(crate) fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.public]);
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }

    pub(crate) fn verify(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        let bad = || NoteError::BadSignature(self.name.clone());
        match self.kind {
            SignatureKind::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), signature).map_err(|_| bad())
            }
            SignatureKind::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>().ok_or_else(bad)?;
                let message = format!("cosignature/v1\ntime {}\n{text}", u64::from_be_bytes(*time));
                UnparsedPublicKey::new(&ED25519, &self.public).verify(message.as_bytes(), signature).map_err(|_| bad())
            }
            SignatureKind::MlDsa44 => {
                let (time, signature) = signature.split_first_chunk::<8>().ok_or_else(bad)?;
                let message = subtree_message(&self.name, *time, text).ok_or_else(bad)?;
                UnparsedPublicKey::new(&ML_DSA_44, &self.public).verify(&message, signature).map_err(|_| bad())
            }
        }
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), BASE64.encode(bytes))
    }
}

/// The message of a 0x06 signature: it names cosigner, time, origin and range, and no extension line.
fn subtree_message(name: &str, time: [u8; 8], text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    let mut out = b"subtree/v1\n\0".to_vec();
    out.push(u8::try_from(name.len()).ok()?);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&time);
    out.push(u8::try_from(checkpoint.origin.len()).ok()?);
    out.extend_from_slice(checkpoint.origin.as_bytes());
    out.extend_from_slice(&0u64.to_be_bytes());
    out.extend_from_slice(&checkpoint.size.to_be_bytes());
    out.extend_from_slice(&checkpoint.root);
    Some(out)
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = name.is_empty() || name.contains('+') || name.chars().any(char::is_whitespace);
    if bad { Err(NoteError::MalformedKey) } else { Ok(()) }
}

/// A note as read: its text and the signatures that stand under it, not yet checked.
#[derive(Debug, Clone)]
pub struct Note {
    text: String,
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

impl Note {
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        // c2sp.org/signed-note, "Format".
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::ControlCharacter);
        }
        let (text, block) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        let block = block.strip_suffix('\n').ok_or(NoteError::MalformedSignature)?;
        let signatures = block.split('\n').map(parse_signature).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooLong);
        }
        if signatures.iter().collect::<BTreeSet<_>>().len() != signatures.len() {
            return Err(NoteError::RepeatedSignature);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The positions in `keys` whose signatures stand under the note. A wrong signature by a known key
    /// refuses the whole note; a signature by an unknown key is passed over.
    pub fn verified_by(&self, keys: &[&VerifierKey]) -> Result<Vec<usize>, NoteError> {
        let mut found = Vec::new();
        for (name, id, signature) in &self.signatures {
            let known = keys.iter().position(|key| key.name == *name && key.id() == *id);
            let Some((position, key)) = known.and_then(|p| keys.get(p).map(|key| (p, key))) else {
                continue;
            };
            key.verify(&self.text, signature)?;
            if !found.contains(&position) {
                found.push(position);
            }
        }
        Ok(found)
    }

    /// The signed text, to be used only after [`Note::verified_by`] named the key one trusts.
    pub fn text(&self) -> &str {
        &self.text
    }
}

pub(crate) fn parse_signature(line: &str) -> Result<(String, [u8; 4], Vec<u8>), NoteError> {
    let bad = || NoteError::MalformedSignature;
    let (name, encoded) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(bad)?;
    check_name(name).map_err(|_| bad())?;
    let bytes = BASE64.decode(encoded).map_err(|_| bad())?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
    if signature.is_empty() {
        return Err(bad());
    }
    Ok((name.to_owned(), *id, signature.to_owned()))
}

/// Signs note texts with an Ed25519 key under a name.
pub struct NoteSigner<'a> {
    key: VerifierKey,
    signer: &'a dyn Signer,
}

impl<'a> NoteSigner<'a> {
    /// Refuses a key that is not Ed25519, since a log signature is kind 0x01.
    pub fn new(name: &str, signer: &'a dyn Signer) -> Result<Self, NoteError> {
        if signer.algorithm() != SignatureAlgorithm::Ed25519 {
            return Err(NoteError::MalformedKey);
        }
        // An Ed25519 SubjectPublicKeyInfo is a fixed 12-byte head before the 32 key bytes (RFC 8410 §4).
        let public = signer.public_key_der().split_last_chunk::<32>().ok_or(NoteError::MalformedKey)?.1;
        Ok(Self { key: VerifierKey::ed25519(name, public)?, signer })
    }

    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The signed note of `text`, which ends in a newline.
    pub fn sign(&self, text: &str) -> Result<String, SignError> {
        let mut bytes = self.key.id().to_vec();
        bytes.extend_from_slice(&self.signer.sign(text.as_bytes())?);
        Ok(format!("{text}\n— {} {}\n", self.key.name, BASE64.encode(bytes)))
    }
}
