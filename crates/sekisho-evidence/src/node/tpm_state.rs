//! What a server keeps of a node's TPM between attestations: where the next one goes on. The node states none of it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{Digest, UnixTime, parse_strict_json};
use serde_json::{Value, json};

use super::attestor::Device;
use crate::ima::Replayed;
use crate::tpm::PcrValues;
use crate::{HashAlgorithm, KeyClass};

const MAX_BYTES: usize = 64 * 1024;
/// The bank of all quotes.
pub(super) const BANK: HashAlgorithm = HashAlgorithm::Sha256;

/// A TPM whose endorsement key was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownTpm {
    /// SHA-256 of the endorsement key.
    pub ek: Digest,
    pub manufacturer: String,
    pub model: String,
    pub version: String,
    /// When its endorsement certificate expires.
    pub ends_at: UnixTime,
    /// `TPMT_PUBLIC` of the attestation key.
    pub ak_public: Vec<u8>,
    /// Where the key of the node's SVID is.
    pub key: KeyClass,
    /// What its agent reports of the kernel.
    pub kernel: BTreeMap<String, String>,
}

impl KnownTpm {
    pub(super) fn device(&self) -> Device {
        let Self { manufacturer, model, version, .. } = self;
        Device { key: self.ek, about: format!("{manufacturer}, model {model}, version {version}") }
    }
}

/// A machine at its last quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownState {
    pub tpm: KnownTpm,
    /// How often the TPM was reset, and restarted since. Another number: PCRs and logs began anew.
    pub resets: (u32, u32),
    pub pcrs: PcrValues,
    pub boot: KnownBoot,
    /// PCR 10, and how much of the IMA log it rests on.
    pub ima: Replayed,
    /// The record of its last whole attestation, by its SHA-256.
    pub evidence: Option<Digest>,
}

/// What the event log states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownBoot {
    /// The node has an event log, which explains its PCRs.
    pub has_log: bool,
    pub secure_boot: Option<bool>,
    /// By which boot policy it was judged, and which of its images was booted.
    pub judged: Option<JudgedBoot>,
}

/// A boot that a policy admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JudgedBoot {
    /// The digest of the policy.
    pub policy: Digest,
    pub image: String,
}

impl KnownState {
    pub(super) fn encode(&self) -> String {
        let KnownTpm { ek, manufacturer, model, version, ends_at, ak_public, key, kernel } = &self.tpm;
        let pcrs: serde_json::Map<String, Value> =
            self.pcrs.values.iter().map(|(index, value)| (index.to_string(), hex::encode(value).into())).collect();
        json!({
            "ek": ek.to_string(),
            "manufacturer": manufacturer,
            "model": model,
            "version": version,
            "ends_at": ends_at.nanos(),
            "ak_public": BASE64.encode(ak_public),
            "key_class": key.as_str(),
            "kernel": kernel,
            "resets": self.resets.0,
            "restarts": self.resets.1,
            "pcrs": pcrs,
            "has_event_log": self.boot.has_log,
            "secure_boot": self.boot.secure_boot,
            "boot_policy": self.boot.judged.as_ref().map(|judged| judged.policy.to_string()),
            "boot_image": self.boot.judged.as_ref().map(|judged| &judged.image),
            "evidence": self.evidence.map(|evidence| evidence.to_string()),
            "ima": {
                "pcr": hex::encode(self.ima.value()),
                "entries": self.ima.entries,
                "bytes": self.ima.bytes,
            },
        })
        .to_string()
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let kept = parse_strict_json(text.as_bytes(), MAX_BYTES).ok()?;
        let words = |name: &str| Some(kept.get(name)?.as_str()?.to_owned());
        let number = |name: &str| u32::try_from(kept.get(name)?.as_u64()?).ok();
        let reported = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let tpm = KnownTpm {
            ek: Digest::parse(&words("ek")?).ok()?,
            manufacturer: words("manufacturer")?,
            model: words("model")?,
            version: words("version")?,
            ends_at: UnixTime::from_nanos(kept.get("ends_at")?.as_i64()?),
            ak_public: BASE64.decode(words("ak_public")?).ok()?,
            key: KeyClass::parse(&words("key_class")?)?,
            kernel: kept.get("kernel")?.as_object()?.iter().map(reported).collect::<Option<_>>()?,
        };
        let pcr = |(index, value): (&String, &Value)| Some((index.parse().ok()?, hex::decode(value.as_str()?).ok()?));
        let values = kept.get("pcrs")?.as_object()?.iter().map(pcr).collect::<Option<BTreeMap<_, _>>>()?;
        let secure_boot = match kept.get("secure_boot")? {
            Value::Null => None,
            value => Some(value.as_bool()?),
        };
        // Absent in what an earlier release kept, and without a policy.
        let judged = match (words("boot_policy"), words("boot_image")) {
            (Some(policy), Some(image)) => Some(JudgedBoot { policy: Digest::parse(&policy).ok()?, image }),
            _ => None,
        };
        let ima = kept.get("ima")?;
        let entries = usize::try_from(ima.get("entries")?.as_u64()?).ok()?;
        let pcr = hex::decode(ima.get("pcr")?.as_str()?).ok()?;
        Some(Self {
            tpm,
            resets: (number("resets")?, number("restarts")?),
            pcrs: PcrValues { bank: BANK, values },
            boot: KnownBoot { has_log: kept.get("has_event_log")?.as_bool()?, secure_boot, judged },
            ima: Replayed::kept(BANK, pcr, entries, ima.get("bytes")?.as_u64()?)?,
            evidence: words("evidence").and_then(|digest| Digest::parse(&digest).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let tpm = KnownTpm {
            ek: Digest::new([3; 32]),
            manufacturer: "id:00001014".to_owned(),
            model: "a \"model\"".to_owned(),
            version: "id:1".to_owned(),
            ends_at: UnixTime::from_nanos(77),
            ak_public: vec![1, 2, 3],
            key: KeyClass::TpmCertified,
            kernel: [("tainted".to_owned(), "0".to_owned())].into(),
        };
        let mut state = KnownState {
            tpm,
            resets: (4, 5),
            pcrs: PcrValues { bank: BANK, values: [(0, vec![0; 32]), (10, vec![7; 32])].into() },
            boot: KnownBoot { has_log: true, secure_boot: Some(false), judged: None },
            ima: Replayed::kept(BANK, vec![9; 32], 12, 3456).unwrap(),
            evidence: Some(Digest::new([4; 32])),
        };
        assert_eq!(KnownState::decode(&state.encode()).as_ref(), Some(&state));
        state.boot = KnownBoot::default();
        assert_eq!(KnownState::decode(&state.encode()), Some(state.clone()));
        state.boot.judged = Some(JudgedBoot { policy: Digest::new([8; 32]), image: "web-7".to_owned() });
        assert_eq!(KnownState::decode(&state.encode()), Some(state.clone()));
        for foul in ["", "{}", &state.encode().replace("ak_public", "ak")] {
            assert_eq!(KnownState::decode(foul), None);
        }
    }
}
