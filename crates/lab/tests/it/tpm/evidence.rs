//! What a server keeps of an attestation, verified again without the server.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_evidence::boot::BootPolicy;
use sekisho_evidence::node::{AppraisedRecord, FilesShown, NodeError, Proved, RecordRefusal, RecordTrust, TpmRecord};
use sekisho_evidence::{EarContext, ear};
use sekisho_types::{Digest, UnixTime};
use serde_json::{Value, json};

use super::attestor::Exchange;
use super::boots::{attest, booted, image, policy};
use super::measured::Measured;
use super::{ISSUER, ROOT, Software};
use crate::within::{World, eventually};

fn files(digests: &[u8]) -> Value {
    digests.iter().map(|byte| Value::from(format!("{byte:02x}").repeat(32))).collect()
}

/// A policy that admits `kernel 7` until 2100, and files of these digests.
fn strict(digests: &[u8]) -> BootPolicy {
    let mut listed = image("web-7", "kernel 7", "quiet");
    listed["not_after"] = "2100-01-01T00:00:00Z".into();
    listed["ima"] = files(digests);
    BootPolicy::parse(policy(&[listed]).as_bytes()).unwrap()
}

/// The record of a machine that attested.
fn shown() -> Option<(Measured, Exchange, Vec<u8>)> {
    let (machine, exchange) = booted("kernel 7", "quiet")?;
    machine.measure(1, "/sbin/init");
    let file = file(attest(&machine, &exchange));
    Some((machine, exchange, file))
}

fn file(outcome: Result<Proved, NodeError>) -> Vec<u8> {
    match outcome {
        Ok(proved) => proved.shown().unwrap().file.clone(),
        Err(NodeError::Denied(denied)) => denied.shown.unwrap().file.clone(),
        Err(error) => panic!("{error}"),
    }
}

fn judge(file: &[u8], software: &Software, policy: Option<&BootPolicy>) -> Result<AppraisedRecord, RecordRefusal> {
    let record = TpmRecord::decode(file).unwrap();
    let anchors = software.certificates(ROOT);
    record.appraise(&RecordTrust { anchors: &anchors, endorsement_key: None, boot_policy: policy, at: record.at })
}

#[test]
fn a_record_is_verified_without_the_server() {
    let Some((machine, _, file)) = shown() else { return };
    let policy = strict(&[1]);
    let proved = judge(&file, &machine.software, Some(&policy)).unwrap();
    assert_eq!((proved.files, proved.files_are_listed), (FilesShown::All(1), true));
    assert_eq!(proved.boot_image.as_deref(), Some("web-7"));
    assert!(!proved.is_hardware && proved.state.counters_are_true);
    let record = TpmRecord::decode(&file).unwrap();
    assert_eq!((record.encode(), record.refused.as_deref()), (file.clone(), None));
    // Without a policy it says nothing of what was booted.
    let proved = judge(&file, &machine.software, None).unwrap();
    assert_eq!((proved.boot_image, proved.files_are_listed), (None, false));
    // Years later.
    let anchors = machine.software.certificates(ROOT);
    let at = |time: &str| UnixTime::parse(time).unwrap();
    let trust = |at| RecordTrust { anchors: &anchors, endorsement_key: None, boot_policy: Some(&policy), at };
    record.appraise(&trust(at("2031-01-01T00:00:00Z"))).unwrap();
    let late = record.appraise(&trust(at("2101-01-01T00:00:00Z"))).unwrap_err().to_string();
    assert!(late.contains("was admitted until 2100-01-01") || late.contains("not trusted"), "{late}");
    let early = record.appraise(&trust(at("2001-01-01T00:00:00Z"))).unwrap_err().to_string();
    assert!(early.contains("endorsement certificate is not trusted") || early.contains("valid now"), "{early}");
}

#[test]
fn another_authority_or_policy_refuses_a_record() {
    let Some((machine, _, file)) = shown() else { return };
    let Some(other) = Software::new() else { return };
    let refused = judge(&file, &other, None).unwrap_err().to_string();
    assert!(refused.contains("not trusted here"), "{refused}");
    let refused = judge(&file, &machine.software, Some(&strict(&[2]))).unwrap_err().to_string();
    assert!(refused.contains("`/sbin/init`"), "{refused}");
    let six = BootPolicy::parse(policy(&[image("web-6", "kernel 6", "quiet")]).as_bytes()).unwrap();
    let refused = judge(&file, &machine.software, Some(&six)).unwrap_err().to_string();
    assert!(refused.contains("event 0 of PCR 4"), "{refused}");
    // One key may be trusted without its authority.
    let record = TpmRecord::decode(&file).unwrap();
    let key = judge(&file, &machine.software, None).unwrap().endorsement.unwrap().spki;
    let trust = |key| RecordTrust { anchors: &[], endorsement_key: Some(key), boot_policy: None, at: record.at };
    record.appraise(&trust(key)).unwrap();
    assert_eq!(record.appraise(&trust(Digest::new([1; 32]))), Err(RecordRefusal::OtherEndorsementKey));
    // A program that is a TPM does not pass as hardware.
    let renamed = TpmRecord { attestor: "tpm".into(), ..record.clone() };
    assert!(renamed.appraise(&trust(key)).unwrap_err().to_string().contains("is a program"));
    let renamed = TpmRecord { attestor: "x509pop".into(), ..record };
    assert!(renamed.appraise(&trust(key)).unwrap_err().to_string().contains("`x509pop`"));
}

/// The text with its first byte changed: hexadecimal, base64 or an ID.
fn changed(text: &str) -> String {
    match BASE64.decode(text) {
        _ if text.starts_with("spiffe://") => text.replacen("/spire", "/aspire", 1),
        _ if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let first = if text.starts_with('0') { "1" } else { "0" };
            format!("{first}{}", text.get(1..).unwrap())
        }
        Ok(mut bytes) => {
            let place = bytes.len() / 2;
            bytes[place] ^= 1;
            BASE64.encode(bytes)
        }
        Err(_) => panic!("{text}"),
    }
}

#[test]
fn a_changed_byte_refuses_a_record() {
    let Some((machine, _, file)) = shown() else { return };
    let whole: Value = serde_json::from_slice(&file).unwrap();
    let policy = strict(&[1]);
    for place in [
        "/node",
        "/ak_public",
        "/nonce",
        "/key_sha256",
        "/exporter",
        "/event_log",
        "/ima_log",
        "/endorsement/certificate",
        "/endorsement/public",
        "/quoted/quote",
        "/quoted/signature",
        "/quoted/pcrs/0",
        "/quoted/pcrs/10",
        "/quoted/pcrs/11",
    ] {
        let mut other = whole.clone();
        let member = other.pointer_mut(place).unwrap();
        *member = changed(member.as_str().unwrap()).into();
        let verdict = judge(format!("{other}\n").as_bytes(), &machine.software, Some(&policy));
        let refused = verdict.map(drop).expect_err(place).to_string();
        assert!(!refused.is_empty(), "{place}");
    }
    // A PCR that the quote does not cover is not believed.
    let thirteen = json!({"images": [{"name": "a", "events": [
        {"pcr": 4, "sha256": super::boots::digest(b"kernel 7")},
        {"pcr": 11, "sha256": super::boots::digest(b"quiet")},
    ], "empty_pcrs": [13]}]});
    let thirteen = BootPolicy::parse(thirteen.to_string().as_bytes()).unwrap();
    let mut other = whole;
    other["quoted"]["pcrs"]["13"] = BASE64.encode([0; 32]).into();
    let refused = judge(format!("{other}\n").as_bytes(), &machine.software, Some(&thirteen)).unwrap_err().to_string();
    assert!(refused.contains("PCR 13"), "{refused}");
}

#[test]
fn a_refused_state_can_be_shown() {
    let Some((machine, exchange, _)) = shown() else { return };
    machine.violate("/etc/shadow");
    // In full, and in a repeated attestation.
    let (_, proof) = Exchange::new(&machine.software);
    let again = file(exchange.attest_again(&proof.with_logs(machine.logs())).1);
    for (file, is_whole) in [(again, false), (file(attest(&machine, &exchange)), true)] {
        let record = TpmRecord::decode(&file).unwrap();
        assert_eq!(record.endorsement.is_some(), is_whole);
        assert!(record.refused.as_ref().unwrap().contains("`/etc/shadow`"));
        let refused = judge(&file, &machine.software, None).unwrap_err().to_string();
        assert!(refused.contains("`/etc/shadow`"), "{refused}");
    }
}

#[test]
fn a_verdict_is_an_attestation_result() {
    let Some((machine, _, file)) = shown() else { return };
    let record = TpmRecord::decode(&file).unwrap();
    let by = EarContext {
        developer: "https://example.org",
        build: "test 1",
        at: UnixTime::from_seconds(1_800_000_000),
        evidence: Digest::new([7; 32]),
        boot_policy: Some(Digest::new([8; 32])),
    };
    let result = |policy: Option<&BootPolicy>| {
        let verdict = judge(&file, &machine.software, policy);
        ear(&record, verdict.as_ref(), &by)
    };
    let good = result(Some(&strict(&[1])));
    assert_eq!(good["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert_eq!((&good["iat"], &good["ear_verifier_id"]["build"]), (&1_800_000_000.into(), &"test 1".into()));
    let appraisal = &good["submods"]["danger_software_tpm"];
    // A TPM that is a program is never affirmed as a whole.
    assert_eq!(appraisal["ear_status"], "warning");
    let vector = json!({"instance-identity": 2, "configuration": 2, "executables": 2, "hardware": 32});
    assert_eq!(appraisal["ear_trustworthiness_vector"], vector);
    let id = format!("sekisho:boot-policy:sha256:{}", "08".repeat(32));
    assert_eq!(appraisal["ear_appraisal_policy_ids"], json!([id]));
    assert_eq!(appraisal["ear_verifier_claims"]["sekisho_boot_image"], "web-7");
    let hardware = TpmRecord { attestor: "tpm".into(), ..record.clone() };
    let mut proved = judge(&file, &machine.software, Some(&strict(&[1]))).unwrap();
    proved.is_hardware = true;
    let affirmed = ear(&hardware, Ok(&proved), &by);
    assert_eq!(affirmed["submods"]["tpm"]["ear_status"], "affirming");
    let refused = &result(Some(&strict(&[2])))["submods"]["danger_software_tpm"];
    assert_eq!(refused["ear_status"], "contraindicated");
    assert_eq!(refused["ear_trustworthiness_vector"], json!({"executables": 96}));
    assert!(refused["ear_verifier_claims"]["sekisho_refused"].as_str().unwrap().contains("/sbin/init"));
}

/// By a server, its command line and its log.
#[tokio::test(start_paused = true)]
async fn a_server_keeps_what_a_node_showed() {
    // Its authority is valid when the node attests.
    let Some(other) = Software::new() else { return };
    let Some(machine) = Measured::new() else { return };
    machine.boot_event(4, b"kernel 7");
    machine.boot_event(11, b"quiet");
    machine.measure(1, "/sbin/init");
    let at = |name: &str| machine.software.folder.path().join(name).display().to_string();
    let (root, boot) = (machine.software.authority(ROOT), at("boot.json"));
    fs::write(&boot, policy(&[image("web-7", "kernel 7", "quiet")])).unwrap();
    let options = ["--danger-software-tpm-ca", &root, "--attest-every", "10s", "--boot-policy", &boot];
    let world = World::with_server(&options).await;
    let (socket, logs) = (machine.software.socket().display().to_string(), machine.logs().display().to_string());
    let proof = ["--tpm", &socket, "--tpm-chain", &machine.software.authority(ISSUER), "--tpm-logs", &logs];
    let agent = world.try_agent("n", &proof).await.unwrap();
    let leaf = world.leaves("attestation").await.pop().unwrap();
    let sha256 = leaf["evidence_sha256"].as_str().unwrap();
    assert_eq!(leaf["boot_image"], "web-7");
    assert!(leaf["boot_policy_sha256"].is_string(), "{leaf}");
    let id = world.json(&["agents", "list"]).await[0]["id"].as_str().unwrap().to_owned();
    let file = at("evidence.json");
    let written = world.json(&["agent", "evidence", &id, "--file", &file]).await;
    assert_eq!(written["sha256"], sha256);
    let verify = ["attest", "verify", &file, "--tpm-ca", &root, "--boot-policy", &boot, "--sha256", sha256];
    let proved = world.json(&verify).await;
    assert_eq!((&proved["node"], &proved["boot_image"]), (&id.as_str().into(), &"web-7".into()));
    let text = world.text(&verify).await;
    assert!(text.contains("web-7") && text.contains("the TPM is a program"), "{text}");
    let result = world.text(&[&verify[..], &["--ear"]].concat()).await;
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["submods"]["danger_software_tpm"]["ear_trustworthiness_vector"]["executables"], 3);

    // Another hash, another authority, another file.
    let (code, _, heard) =
        world.sekisho(&["attest", "verify", &file, "--tpm-ca", &root, "--sha256", &"0".repeat(64)]).await;
    assert!(code == 2 && heard.contains("not what the log names"), "{code} {heard}");
    let (code, _, heard) =
        world.sekisho(&["attest", "verify", &file, "--tpm-ca", &other.authority(ROOT), "--sha256", sha256]).await;
    assert!(code == 2 && heard.contains("not trusted here"), "{code} {heard}");
    // Without the log's word it proves nothing.
    let (code, _, heard) = world.sekisho(&["attest", "verify", &file, "--tpm-ca", &root]).await;
    assert!(code == 3 && heard.contains("--sha256"), "{code} {heard}");
    let (receipt, trust) = (at("leaf.tlog-proof"), at("trust"));
    let by_proof = ["attest", "verify", &file, "--tpm-ca", &root, "--proof", &receipt, "--trust-policy", &trust];
    let prove = async |id: &str| world.text(&["prove", id, "--file", &receipt, "--trust-policy", &trust]).await;
    prove(leaf["id"].as_str().unwrap()).await;
    assert_eq!(world.json(&by_proof).await["evidence_sha256"], sha256);
    prove(world.leaves("issuance").await[0]["id"].as_str().unwrap()).await;
    let (code, _, heard) = world.sekisho(&by_proof).await;
    assert!(code == 2 && heard.contains("names no evidence"), "{code} {heard}");

    // What it shows later takes the place of that, and what is refused is kept too.
    agent.end().await;
    let agent = world.try_agent("m", &proof).await.unwrap();
    let kept = || fs::read_dir(world.path("s/evidence")).unwrap().count();
    eventually("the first is removed", async || (kept() == 1).then_some(())).await;
    let (code, _, heard) = world.sekisho(&["agent", "evidence", "--sha256", sha256, "--file", &file]).await;
    assert!(code == 1 && heard.contains("replaced by later evidence"), "{code} {heard}");
    machine.violate("/etc/shadow");
    let leaf = eventually("it is denied", async || world.leaves("attestation-denied").await.pop()).await;
    agent.end().await;
    let refused = leaf["evidence_sha256"].as_str().unwrap();
    world.text(&["agent", "evidence", "--sha256", refused, "--file", &file]).await;
    let (code, _, heard) = world.sekisho(&["attest", "verify", &file, "--tpm-ca", &root, "--sha256", refused]).await;
    assert!(code == 2 && heard.contains("`/etc/shadow`"), "{code} {heard}");
    let (code, _, heard) = world.sekisho(&["agent", "evidence", &id]).await;
    assert!(code == 1, "it is no longer attested: {heard}");
}
