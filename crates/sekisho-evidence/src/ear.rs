//! A verdict as an EAT attestation result: the claims set of draft-ietf-rats-ear-04, with the trustworthiness vector of
//! draft-ietf-rats-ar4si-10.

use sekisho_types::{Digest, UnixTime};
use serde_json::{Map, Value, json};

use crate::node::{AppraisedRecord, FilesShown, RecordRefusal, TpmError, TpmRecord};
use crate::tpm::TpmRefusal;

const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

// AR4SI, section 2.3: values that a verifier may claim. 0, "no claim", is left out.
const TRUSTWORTHY_INSTANCE: i8 = 2;
const UNRECOGNISED_INSTANCE: i8 = 97;
const APPROVED_CONFIGURATION: i8 = 2;
const APPROVED_RUNTIME: i8 = 2;
const APPROVED_BOOT: i8 = 3;
const CONTRAINDICATED_RUNTIME: i8 = 96;
const UNSAFE_HARDWARE: i8 = 32;
/// For any claim: what was shown is not authentic.
const CRYPTOGRAPHIC_VALIDATION_FAILED: i8 = 99;
/// The lowest values of the tiers.
const WARNING: i8 = 32;
const CONTRAINDICATED: i8 = 96;

/// Who made the verdict, when, and by what.
#[derive(Debug, Clone, Copy)]
pub struct EarContext<'a> {
    /// A URI or a name.
    pub developer: &'a str,
    /// Program and version.
    pub build: &'a str,
    pub at: UnixTime,
    /// SHA-256 of the record's file.
    pub evidence: Digest,
    /// SHA-256 of the boot policy's text.
    pub boot_policy: Option<Digest>,
}

/// The claims set of a verdict. It is not signed: who asks for it made it.
pub fn ear(record: &TpmRecord, verdict: Result<&AppraisedRecord, &RecordRefusal>, by: &EarContext<'_>) -> Value {
    let vector = match verdict {
        Ok(appraised) => affirmed(appraised),
        Err(refusal) => refused(refusal),
    };
    let mut appraisal = Map::new();
    appraisal.insert("ear_status".to_owned(), status(&vector).into());
    if !vector.is_empty() {
        let claims = vector.into_iter().map(|(claim, value)| (claim.to_owned(), value.into()));
        appraisal.insert("ear_trustworthiness_vector".to_owned(), Value::Object(claims.collect()));
    }
    if let Some(policy) = by.boot_policy {
        let ids = json!([format!("sekisho:boot-policy:sha256:{policy}")]);
        appraisal.insert("ear_appraisal_policy_ids".to_owned(), ids);
    }
    let claims = json!({
        "sekisho_attested_at": record.at.seconds(),
        "sekisho_boot_image": verdict.ok().and_then(|appraised| appraised.boot_image.as_ref()),
        "sekisho_evidence_sha256": by.evidence.to_string(),
        "sekisho_node": record.node.to_string(),
        "sekisho_refused": verdict.err().map(ToString::to_string),
    });
    appraisal.insert("ear_verifier_claims".to_owned(), claims);
    let submods = Map::from_iter([(record.attestor.clone(), Value::Object(appraisal))]);
    json!({
        "eat_profile": PROFILE,
        "iat": by.at.seconds(),
        "ear_verifier_id": {"developer": by.developer, "build": by.build},
        "submods": submods,
    })
}

type Vector = Vec<(&'static str, i8)>;

/// Nothing is claimed of what the evidence does not show: firmware, memory, files at rest.
fn affirmed(appraised: &AppraisedRecord) -> Vector {
    // A repeated attestation shows no endorsement, so nothing that the verifier knows.
    let instance = appraised.endorsement.as_ref().map_or(UNRECOGNISED_INSTANCE, |_| TRUSTWORTHY_INSTANCE);
    let mut vector = vec![("instance-identity", instance)];
    if appraised.boot_image.is_some() {
        // The kernel's command line is part of the image.
        vector.push(("configuration", APPROVED_CONFIGURATION));
        let all_files = appraised.files_are_listed && matches!(appraised.files, FilesShown::All(_));
        vector.push(("executables", if all_files { APPROVED_RUNTIME } else { APPROVED_BOOT }));
    }
    if !appraised.is_hardware {
        vector.push(("hardware", UNSAFE_HARDWARE));
    }
    vector
}

fn refused(refusal: &RecordRefusal) -> Vector {
    match refusal {
        RecordRefusal::Tpm(TpmError::Boot(_) | TpmError::Refused(TpmRefusal::ImaDigest { .. })) => {
            vec![("executables", CONTRAINDICATED_RUNTIME)]
        }
        RecordRefusal::Tpm(TpmError::Refused(refusal)) if !matches!(refusal, TpmRefusal::Endorsement(_)) => {
            vec![("executables", CRYPTOGRAPHIC_VALIDATION_FAILED)]
        }
        _ => vec![("instance-identity", UNRECOGNISED_INSTANCE)],
    }
}

/// The tier of the worst claim.
fn status(vector: &[(&str, i8)]) -> &'static str {
    match vector.iter().map(|(_, value)| *value).max() {
        None | Some(..2) => "none",
        Some(CONTRAINDICATED..) => "contraindicated",
        Some(WARNING..) => "warning",
        Some(_) => "affirming",
    }
}
