use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_keys::MemoryKey;
use sekisho_ledger::{Batch, Frontier, NoteSigner, inclusion_path};
use sekisho_types::{Digest, SignatureAlgorithm, SpiffeId, TrustDomain, UnixTime};

use super::*;
use crate::{AgentBanned, DecisionsRecorded, Personal};

fn leaf(event: impl Into<Event>) -> Vec<u8> {
    let domain = TrustDomain::parse("example.org").unwrap();
    Leaf::new(domain, UnixTime::from_seconds(1_790_000_000), event).encode().unwrap().leaf
}

/// The receipt of the third of five leaves, and the policy that trusts its log.
fn receipt(leaf: Vec<u8>, subject: Subject) -> (Receipt, TrustPolicy) {
    let key = MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap();
    let signer = NoteSigner::new("example.org/sekisho", &key).unwrap();
    let (mut frontier, mut stored) = (Frontier::default(), BTreeMap::new());
    for index in 0..5u8 {
        let hash = if index == 2 { leaf_hash(&leaf) } else { leaf_hash(&[index]) };
        frontier.push(hash, |level, index, hash| {
            stored.insert((level, index), *hash);
        });
    }
    let path = inclusion_path(2, 5, &|level, index| stored.get(&(level, index)).copied()).unwrap();
    let checkpoint = Checkpoint { origin: "example.org/sekisho".to_owned(), size: 5, root: frontier.root() };
    let policy = TrustPolicy::parse(&format!("log {}\nquorum none\n", signer.key())).unwrap();
    let checkpoint = signer.sign(&checkpoint.to_string()).unwrap();
    (Receipt { leaf, subject, index: 2, path, checkpoint }, policy)
}

fn opened() -> (Receipt, TrustPolicy) {
    let agent = SpiffeId::parse("spiffe://example.org/spire/agent/x509pop/a").unwrap();
    let opening = |field: &str, value: &str| Opening { field: field.into(), nonce: [0xab; 32], value: value.into() };
    let openings = vec![opening("agent", &agent.to_string()), opening("by", "v")];
    let event = AgentBanned { agent: Personal::new(agent, [0xab; 32]), by: Personal::new("v".to_owned(), [0xab; 32]) };
    receipt(leaf(event), Subject::Leaf { openings })
}

const RECORDS: [&[u8]; 2] = [b"{\"id\":\"dec_1\"}", b"{\"id\":\"dec_2\"}"];

/// The receipt of the first of two records, with a place that is claimed.
fn record(claim: impl Fn(&mut BatchPath)) -> (Receipt, TrustPolicy) {
    let batch = Batch::of(RECORDS);
    let mut place = batch.paths().unwrap().swap_remove(0);
    claim(&mut place);
    let reporter = Personal::new("spiffe://example.org/spire/agent/x509pop/a".to_owned(), [1; 32]);
    let event = DecisionsRecorded { count: 2, first: 0, reporter, root: Digest::new(batch.root()) };
    receipt(leaf(event), Subject::Record { record: String::from_utf8(RECORDS[0].to_vec()).unwrap(), place })
}

#[test]
fn a_record_is_bound_to_place_and_count() {
    let (whole, policy) = record(|_| ());
    Receipt::parse(&whole.to_string()).unwrap().verify(&policy).unwrap();
    for size in 0..70 {
        for index in 0..size {
            let (claimed, policy) = record(|place| (place.index, place.size) = (index, size));
            let verified = Receipt::parse(&claimed.to_string()).and_then(|receipt| receipt.verify(&policy));
            assert_eq!(verified.is_ok(), (index, size) == (0, 2), "{index} of {size}");
        }
    }
}

#[test]
fn a_record_under_another_leaf_is_refused() {
    let (whole, _) = record(|_| ());
    let (other, policy) = receipt(opened().0.leaf, whole.subject.clone());
    assert_eq!(other.verify(&policy).err(), Some(ReceiptError::NotABatch));
    let without_count = String::from_utf8(whole.leaf).unwrap().replace("\"count\":2,", "");
    let (other, policy) = receipt(without_count.into_bytes(), whole.subject);
    assert_eq!(other.verify(&policy).err(), Some(ReceiptError::Leaf(LeafError::Field("count"))));
}

#[test]
fn an_opening_that_does_not_fit_is_refused() {
    let (mut receipt, policy) = opened();
    let Subject::Leaf { openings } = &mut receipt.subject else { unreachable!() };
    openings[1].value = "w".to_owned();
    let refused = Receipt::parse(&receipt.to_string()).unwrap().verify(&policy).err();
    assert_eq!(refused, Some(ReceiptError::Leaf(LeafError::Opening("by".to_owned()))));
}

/// Changes the `extra` line's JSON, and leaves all else as it is.
fn with_extra(receipt: &Receipt, change: impl Fn(&str) -> String) -> String {
    let file = receipt.to_string();
    let extra = String::from_utf8(receipt.extra()).unwrap();
    let changed = change(&extra);
    assert_ne!(changed, extra);
    file.replace(&BASE64.encode(&extra), &BASE64.encode(changed))
}

#[test]
fn a_receipt_has_one_form() {
    let (receipt, policy) = opened();
    Receipt::parse(&receipt.to_string()).unwrap().verify(&policy).unwrap();
    type Change = fn(&str) -> String;
    let changes: [(&str, Change); 8] = [
        ("hexadecimal digits in upper case", |json| json.replace("abab", "ABAB")),
        ("a space", |json| json.replacen(':', ": ", 1)),
        ("white space behind it", |json| format!("{json}\n")),
        ("a repeated member", |json| json.replacen("{\"leaf\"", "{\"leaf\":\"x\",\"leaf\"", 1)),
        ("a repeated opening", |json| {
            json.replacen("\"openings\":{", "\"openings\":{\"agent\":{\"nonce\":\"00\",\"value\":\"x\"},", 1)
        }),
        ("an unknown member", |json| json.replacen('{', "{\"extra\":1,", 1)),
        ("an unknown member of an opening", |json| json.replacen("{\"nonce\"", "{\"also\":1,\"nonce\"", 1)),
        ("a letter as an escape", |json| json.replacen("\"value\":\"v\"", "\"value\":\"\\u0076\"", 1)),
    ];
    for (what, change) in changes {
        assert!(Receipt::parse(&with_extra(&receipt, change)).is_err(), "{what}");
    }
    let members = |json: &str| {
        let all: serde_json::Value = serde_json::from_str(json).unwrap();
        format!("{{\"openings\":{},\"leaf\":{}}}", all["openings"], all["leaf"])
    };
    assert!(Receipt::parse(&with_extra(&receipt, members)).is_err(), "another order");
}

#[test]
fn a_proof_file_has_one_form() {
    let (receipt, policy) = opened();
    let file = receipt.to_string();
    let signature = file.lines().last().unwrap();
    // Base64 of 32 bytes leaves two bits of the last digit unused; strict readers want them to be zero.
    let spare_bits = |file: &str| {
        let line = file.lines().find(|line| line.ends_with('=') && line.len() == 44).unwrap();
        let mut other = line.as_bytes().to_vec();
        other[42] += 1;
        file.replace(line, &String::from_utf8(other).unwrap())
    };
    let others = [
        ("`extra` twice", file.replace("extra ", "extra extra ")),
        ("a zero before the index", file.replace("index 2", "index 02")),
        ("a sign before the index", file.replace("index 2", "index +2")),
        ("a repeated signature line", format!("{file}{signature}\n")),
        ("an empty line behind it", format!("{file}\n")),
        ("no newline at its end", file.trim_end().to_owned()),
        ("carriage returns", file.replace('\n', "\r\n")),
        ("bits that base64 does not use", spare_bits(&file)),
        ("an empty extra line", file.replace(file.lines().nth(1).unwrap(), "extra ")),
    ];
    for (what, other) in others {
        let verified = Receipt::parse(&other).and_then(|receipt| receipt.verify(&policy));
        assert!(verified.is_err(), "{what}");
    }
}
