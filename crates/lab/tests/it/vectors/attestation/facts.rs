//! What our parsers and verifiers read, under the names that the manifest has for it.

use std::collections::BTreeMap;

use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::boot::{BootFacts, EventLog, Format, measured_command_line};
use sekisho_evidence::ima::ImaLog;
use sekisho_evidence::tpm::{Attest, Attested, EndorsementCertificate, Public, TpmClaims};
use serde_json::{Value, json};

use super::Case;
use super::tpm::values_of;

/// `TPM_RH_ENDORSEMENT`
const ENDORSEMENT: u32 = 0x4000_000b;
const BANK: HashAlgorithm = HashAlgorithm::Sha256;

fn attributes(public: &Public) -> Value {
    json!(format!("{:#010x}", public.attributes.bits()))
}

pub(super) fn hex_values(values: &BTreeMap<u8, Vec<u8>>) -> Value {
    Value::Object(values.iter().map(|(index, value)| (index.to_string(), json!(hex::encode(value)))).collect())
}

/// Facts of evidence: verified ones where it was accepted, else what the parsers read.
pub(super) fn of_tpm(case: &Case, claims: Option<&TpmClaims>) -> BTreeMap<&'static str, Value> {
    let mut out = BTreeMap::new();
    let certificate = case.file("ek_cert").unwrap();
    let chain = Case::certificates(case.file("chain"));
    if let Ok(ek) = EndorsementCertificate::verify(&certificate, &chain, &case.anchors(), case.at()) {
        out.insert("ek_subject_cn", json!(ek.subject_cn));
        out.insert("ek_spki_sha256", json!(ek.spki.to_string()));
        out.insert("tpm_manufacturer", json!(ek.manufacturer));
        out.insert("tpm_model", json!(ek.model));
        out.insert("tpm_version", json!(ek.version));
    }
    let ak = Public::parse(&case.file("ak_pub").unwrap()).unwrap();
    out.insert("ak_attributes", attributes(&ak));
    out.insert("ak_name", json!(hex::encode(ak.name())));
    out.insert("ak_qualified_name", json!(hex::encode(ak.qualified_name(ENDORSEMENT))));
    of_quote(&Attest::parse(&case.file("quote").unwrap()).unwrap(), case, &mut out);
    if let Some(key) = case.file("svid_key_pub").map(|key| Public::parse(&key).unwrap()) {
        out.insert("svid_key_attributes", attributes(&key));
        out.insert("svid_key_name", json!(hex::encode(key.name())));
    }
    if let Some(text) = case.value["facts"].get("nonce_text").and_then(Value::as_str) {
        let is_hash = BANK.digest([text.as_bytes()]) == case.nonce();
        out.insert("nonce_text", if is_hash { json!(text) } else { Value::Null });
    }
    if let Some(claims) = claims {
        verified(case, claims, &mut out);
    }
    out
}

fn of_quote(quote: &Attest, case: &Case, out: &mut BTreeMap<&'static str, Value>) {
    out.insert("reset_count", json!(quote.clock.reset_count));
    out.insert("restart_count", json!(quote.clock.restart_count));
    out.insert("clock_safe", json!(quote.clock.safe));
    out.insert("firmware_version", json!(format!("{:#018x}", quote.firmware_version)));
    if let Attested::Quote { selection, digest } = &quote.body {
        out.insert("pcr_selection", json!(selection.indices().collect::<Vec<_>>()));
        out.insert("pcr_digest", json!(hex::encode(digest)));
        let file = case.json("pcrs").unwrap();
        let values = values_of(file.get("quoted").or_else(|| file.get("claimed")).unwrap());
        out.insert("pcrs_sha256", hex_values(&values));
    }
}

/// What only a verifier can say.
fn verified(case: &Case, claims: &TpmClaims, out: &mut BTreeMap<&'static str, Value>) {
    assert_eq!(out["ak_name"], json!(hex::encode(claims.attestation_key.name())));
    assert_eq!(out["pcr_digest"], json!(hex::encode(&claims.state.pcr_digest)));
    out.insert("ak_qualified_name", json!(hex::encode(&claims.state.qualified_signer)));
    assert!(claims.state.counters_are_true);
    let key = claims.key.as_ref().map(|key| hex::encode(&key.name));
    out.insert("svid_key_name", json!(key));
    if let Some(boot) = &claims.state.boot {
        out.insert("event_count", json!(boot.event_count));
        out.insert("secure_boot", json!(boot.secure_boot));
        let log = EventLog::parse(&case.file("event_log").unwrap()).unwrap();
        let command_line = case.text("cmdline").unwrap();
        let pcrs = measured_command_line(&log, BANK, command_line.trim_end_matches('\n'));
        out.insert("cmdline_measured_in_pcrs", json!(pcrs));
    }
    if let Some(ima) = &claims.state.ima {
        out.insert("ima_entries", json!(ima.state.entries));
        out.insert("ima_paths", json!(ima.paths));
        let ascii = ImaLog::parse_ascii(&case.text("ima_log_ascii").unwrap()).unwrap();
        let binary = ImaLog::parse_binary(&case.file("ima_log_binary").unwrap()).unwrap();
        assert_eq!(ascii, binary, "both forms of the log say the same");
        let aggregate = binary.entries.first().filter(|entry| entry.path == "boot_aggregate").unwrap();
        out.insert("boot_aggregate_sha256", json!(hex::encode(&aggregate.digest.bytes)));
    }
}

pub(super) fn of_event_log(log: &EventLog) -> BTreeMap<&'static str, Value> {
    let bank = if log.banks.contains(&BANK) { BANK } else { HashAlgorithm::Sha1 };
    let boot = BootFacts::of(log, bank);
    let format = match log.format {
        Format::Sha1 => "sha1",
        Format::CryptoAgile => "crypto-agile",
    };
    let mut out = BTreeMap::from([
        ("format", json!(format)),
        ("banks", json!(log.banks.iter().map(|bank| bank.name()).collect::<Vec<_>>())),
        ("event_count", json!(boot.event_count)),
        ("exit_boot_services", json!(boot.exit_boot_services)),
        ("secure_boot", json!(boot.secure_boot)),
        ("startup_locality", json!(log.startup_locality())),
    ]);
    if let Ok(values) = log.replay(HashAlgorithm::Sha1) {
        out.insert("pcr5_sha1_log", json!(values.get(&5).map(hex::encode)));
        out.insert("replay_sha1", hex_values(&values));
    }
    out
}
