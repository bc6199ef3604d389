//! The evidence of one attestation by a TPM as a file: all that is needed to verify it again, years later.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{Digest, JsonError, SpiffeId, UnixTime, parse_strict_json};
use serde_json::{Map, Value, json};

use super::attestor::ShownEvidence;
use super::tpm_messages::{CertifiedAnswer, QUOTED_PCRS, QuotedPcrs, member, text};
use super::tpm_state::BANK;
use crate::ima::Replayed;
use crate::tpm::PcrValues;

/// The kind of file, and the version of its form.
const FORM: &str = "tpm-evidence/1";
/// What the longest logs, in base64, need at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The longest IMA log in a record.
pub(super) const MAX_IMA_BYTES: usize = 4 * 1024 * 1024;

/// Why a file is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("it is not one strict JSON text: {0}")]
    Json(String),
    #[error("it is not `{FORM}`: its member `{0}` is missing or of another form")]
    Member(&'static str),
    #[error("it is not `{FORM}`: it has members that are not known here, or written in another way")]
    Unknown,
}

impl From<JsonError> for RecordError {
    fn from(error: JsonError) -> Self {
        Self::Json(error.to_string())
    }
}

/// What a node showed, what the server asked for, and by what it judged. Nothing in it is believed before it is
/// verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmRecord {
    /// The attestor's name.
    pub attestor: String,
    pub node: SpiffeId,
    pub at: UnixTime,
    /// Absent in a repeated attestation, which begins with a key that is known.
    pub endorsement: Option<RecordedEndorsement>,
    /// `TPMT_PUBLIC`
    pub ak_public: Vec<u8>,
    /// What the quote signs beside the PCRs: the server's nonce, the hash of the key of the node's SVID, and keying
    /// material of the connection.
    pub nonce: [u8; 32],
    pub key: Digest,
    pub exporter: [u8; 32],
    pub quoted: QuotedPcrs,
    pub certified: Option<CertifiedAnswer>,
    /// Empty: the node has none.
    pub event_log: Option<Vec<u8>>,
    /// Where the part of the IMA log begins; `None`: at the boot.
    pub ima_from: Option<Replayed>,
    /// Up to the quoted entry. `None`: the node was not asked for it, or it is too long for a record.
    pub ima_log: Option<Vec<u8>>,
    /// SHA-256 of each certificate that the server trusted.
    pub anchors: Vec<Digest>,
    /// SHA-256 of the boot policy's text.
    pub boot_policy: Option<Digest>,
    /// The image of the policy that was booted.
    pub boot_image: Option<String>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// What proves which TPM it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEndorsement {
    /// DER.
    pub certificate: Vec<u8>,
    /// Authorities between it and an anchor, DER.
    pub chain: Vec<Vec<u8>>,
    /// `TPMT_PUBLIC`
    pub public: Vec<u8>,
}

impl RecordedEndorsement {
    fn value(&self) -> Value {
        let chain: Vec<Value> = self.chain.iter().map(|der| text(der)).collect();
        json!({"certificate": text(&self.certificate), "chain": chain, "public": text(&self.public)})
    }

    fn read(value: &Value) -> Option<Self> {
        let chain = value.get("chain")?.as_array()?;
        Some(Self {
            certificate: member(value, "certificate")?,
            chain: chain.iter().map(|der| BASE64.decode(der.as_str()?).ok()).collect::<Option<_>>()?,
            public: member(value, "public")?,
        })
    }
}

impl TpmRecord {
    /// Values of the PCRs that the quote covers.
    pub(super) fn pcrs(&self) -> PcrValues {
        let quoted = self.quoted.pcrs.iter().filter(|(index, _)| QUOTED_PCRS.contains(index));
        PcrValues { bank: BANK, values: quoted.map(|(index, value)| (*index, value.clone())).collect() }
    }

    /// The file's bytes. Records of the log name them by their hash.
    pub fn encode(&self) -> Vec<u8> {
        format!("{}\n", self.value()).into_bytes()
    }

    /// Adds the first bytes of a part of the IMA log. A log that becomes too long is left out.
    pub(super) fn add_to_ima_log(&mut self, part: &[u8], taken: u64) {
        let taken = usize::try_from(taken).ok().and_then(|taken| part.get(..taken)).unwrap_or(part);
        if let Some(log) = &mut self.ima_log {
            log.extend_from_slice(taken);
        }
        self.ima_log = self.ima_log.take().filter(|log| log.len() <= MAX_IMA_BYTES);
    }

    /// The file, under its hash.
    pub(super) fn shown(&self) -> Arc<ShownEvidence> {
        let file = self.encode();
        let (sha256, boot_image) = (crate::sha256(&file), self.boot_image.clone());
        Arc::new(ShownEvidence { file, sha256, boot_policy: self.boot_policy, boot_image })
    }

    fn value(&self) -> Value {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| text(bytes));
        let digests: Vec<String> = self.anchors.iter().map(ToString::to_string).collect();
        let mut members = json!({
            "form": FORM,
            "attestor": self.attestor,
            "node": self.node.to_string(),
            "at_ns": self.at.nanos(),
            "endorsement": self.endorsement.as_ref().map(RecordedEndorsement::value),
            "ak_public": text(&self.ak_public),
            "nonce": text(&self.nonce),
            "key_sha256": self.key.to_string(),
            "exporter": text(&self.exporter),
            "certified": self.certified.as_ref().map(CertifiedAnswer::value),
            "event_log": bytes(&self.event_log),
            "ima_from": self.ima_from.as_ref().map(from_value),
            "ima_log": bytes(&self.ima_log),
            "anchors_sha256": digests,
            "boot_policy_sha256": self.boot_policy.map(|digest| digest.to_string()),
            "boot_image": self.boot_image,
            "refused": self.refused,
        });
        if let Some(members) = members.as_object_mut() {
            members.insert("quoted".to_owned(), self.quoted.value());
        }
        members
    }

    /// Reads a file of at most 16 MiB. A member that is not known here is refused.
    ///
    /// # Errors
    /// A text that is not of this form.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let file = parse_strict_json(bytes, MAX_BYTES)?;
        let members = Reading(file.as_object().ok_or(RecordError::Member("form"))?);
        members.word("form", |form| (form == FORM).then_some(()))?;
        let record = Self {
            attestor: members.word("attestor", |name| Some(name.to_owned()))?,
            node: members.word("node", |id| SpiffeId::parse(id).ok())?,
            at: members.value("at_ns", |at| Some(UnixTime::from_nanos(at.as_i64()?)))?,
            endorsement: members.optional("endorsement", RecordedEndorsement::read)?,
            ak_public: members.bytes("ak_public")?,
            nonce: members.bytes32("nonce")?,
            key: members.word("key_sha256", |digest| Digest::parse(digest).ok())?,
            exporter: members.bytes32("exporter")?,
            quoted: members.value("quoted", QuotedPcrs::read)?,
            certified: members.optional("certified", CertifiedAnswer::read)?,
            event_log: members.optional("event_log", decoded)?,
            ima_from: members.optional("ima_from", read_from)?,
            ima_log: members.optional("ima_log", decoded)?,
            anchors: members.value("anchors_sha256", digests)?,
            boot_policy: members.optional("boot_policy_sha256", |value| Digest::parse(value.as_str()?).ok())?,
            boot_image: members.optional("boot_image", |name| Some(name.as_str()?.to_owned()))?,
            refused: members.optional("refused", |why| Some(why.as_str()?.to_owned()))?,
        };
        // Each member has one form, and none is left over.
        if record.value() == file { Ok(record) } else { Err(RecordError::Unknown) }
    }
}

fn from_value(from: &Replayed) -> Value {
    json!({"pcr": text(from.value()), "entries": from.entries, "bytes": from.bytes})
}

fn read_from(value: &Value) -> Option<Replayed> {
    let entries = usize::try_from(value.get("entries")?.as_u64()?).ok()?;
    Replayed::kept(BANK, member(value, "pcr")?, entries, value.get("bytes")?.as_u64()?)
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

fn digests(value: &Value) -> Option<Vec<Digest>> {
    value.as_array()?.iter().map(|digest| Digest::parse(digest.as_str()?).ok()).collect()
}

struct Reading<'a>(&'a Map<String, Value>);

impl Reading<'_> {
    fn value<T>(&self, name: &'static str, read: impl FnOnce(&Value) -> Option<T>) -> Result<T, RecordError> {
        self.0.get(name).and_then(read).ok_or(RecordError::Member(name))
    }

    fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, RecordError> {
        self.value(name, |value| if value.is_null() { Some(None) } else { read(value).map(Some) })
    }

    fn word<T>(&self, name: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, RecordError> {
        self.value(name, |value| read(value.as_str()?))
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, RecordError> {
        self.value(name, decoded)
    }

    fn bytes32(&self, name: &'static str) -> Result<[u8; 32], RecordError> {
        self.value(name, |value| decoded(value)?.try_into().ok())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record() -> TpmRecord {
        let quoted = QuotedPcrs {
            quote: vec![1],
            signature: vec![2, 2],
            pcrs: [(0, vec![0; 32]), (13, vec![1; 32])].into(),
            kernel: BTreeMap::from([("tainted".to_owned(), "0".to_owned())]),
        };
        TpmRecord {
            attestor: "tpm".to_owned(),
            node: SpiffeId::parse("spiffe://td/spire/agent/tpm/a").unwrap(),
            at: UnixTime::from_nanos(1_800_000_000_123_456_789),
            endorsement: Some(RecordedEndorsement { certificate: vec![3], chain: vec![vec![4]], public: vec![5] }),
            ak_public: vec![6],
            nonce: [7; 32],
            key: Digest::new([8; 32]),
            exporter: [9; 32],
            quoted,
            certified: Some(CertifiedAnswer { public: vec![10], attest: vec![11], signature: vec![12] }),
            event_log: Some(vec![]),
            ima_from: Replayed::kept(BANK, vec![13; 32], 3, 400),
            ima_log: Some(vec![14; 3]),
            anchors: vec![Digest::new([15; 32])],
            boot_policy: Some(Digest::new([16; 32])),
            boot_image: Some("web-7".to_owned()),
            refused: None,
        }
    }

    #[test]
    fn a_record_is_read_back() {
        let bare = TpmRecord {
            endorsement: None,
            certified: None,
            event_log: None,
            ima_from: None,
            ima_log: None,
            anchors: vec![],
            boot_policy: None,
            boot_image: None,
            refused: Some("a \"reason\"".to_owned()),
            ..record()
        };
        for one in [record(), bare] {
            assert_eq!(TpmRecord::decode(&one.encode()).as_ref(), Ok(&one));
        }
        // Only what the quote covers is a value.
        assert_eq!(record().pcrs().values.into_keys().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn other_files_are_refused() {
        let text = String::from_utf8(record().encode()).unwrap();
        for (from, to, why) in [
            ("evidence/1", "evidence/2", "`form`"),
            ("\"nonce\"", "\"nince\"", "`nonce`"),
            ("\"attestor\"", "\"more\":1,\"attestor\"", "not known here"),
            ("\"at_ns\":1", "\"at_ns\":1.", "`at_ns`"),
            ("{", "[", "strict JSON"),
        ] {
            assert!(text.contains(from), "{from}");
            let refused = TpmRecord::decode(text.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_long_ima_log_is_left_out() {
        let mut own = TpmRecord { ima_log: Some(vec![]), ..record() };
        own.add_to_ima_log(&[1, 2, 3], 2);
        assert_eq!(own.ima_log, Some(vec![1, 2]));
        own.add_to_ima_log(&vec![0; MAX_IMA_BYTES], MAX_IMA_BYTES as u64);
        own.add_to_ima_log(&[1], 1);
        assert_eq!(own.ima_log, None);
    }
}
