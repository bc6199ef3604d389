use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{TrustDomain, UnixTime};

use super::*;
use crate::test_log::TestLog;
use crate::{Batch, inclusion_path};

fn leaf(kind: Kind) -> Leaf {
    Leaf::new(kind, TrustDomain::parse("example.org").unwrap(), UnixTime::from_seconds(1_790_000_000))
}

/// The receipt of the third of five leaves, and the policy that trusts its log.
fn receipt(leaf: &Leaf, subject: Subject) -> (Receipt, TrustPolicy) {
    let mut log = TestLog::new("example.org/sekisho");
    let bytes = leaf.encode().unwrap();
    for index in 0..5u8 {
        log.push(if index == 2 { leaf_hash(&bytes) } else { leaf_hash(&[index]) });
    }
    let path = inclusion_path(2, 5, &log.stored()).unwrap();
    let receipt = Receipt { leaf: bytes, subject, index: 2, path, checkpoint: log.signed(5) };
    (receipt, TrustPolicy::parse(&log.policy()).unwrap())
}

fn opened() -> (Receipt, TrustPolicy) {
    let opening = |field: &str| Opening { field: field.to_owned(), nonce: [0xab; 32], value: "v".to_owned() };
    let openings = vec![opening("agent"), opening("caller")];
    let leaf = leaf(Kind::Issuance)
        .committed("agent", &openings[0].commitment())
        .committed("caller", &openings[1].commitment());
    receipt(&leaf, Subject::Leaf { openings })
}

const RECORDS: [&[u8]; 2] = [b"{\"id\":\"dec_1\"}", b"{\"id\":\"dec_2\"}"];

/// The receipt of the first of two records, with a place that is claimed.
fn record(claim: impl Fn(&mut BatchPath)) -> (Receipt, TrustPolicy) {
    let batch = Batch::of(RECORDS);
    let mut place = batch.paths().unwrap().swap_remove(0);
    claim(&mut place);
    let leaf = leaf(Kind::DecisionBatch).text("root", hex::encode(batch.root())).integer("count", 2);
    receipt(&leaf, Subject::Record { record: String::from_utf8(RECORDS[0].to_vec()).unwrap(), place })
}

#[test]
fn a_record_verifies_at_its_own_place_and_count_only() {
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
fn a_record_under_a_leaf_without_count_is_refused() {
    let batch = Batch::of(RECORDS);
    let leaf = leaf(Kind::DecisionBatch).text("root", hex::encode(batch.root()));
    let place = batch.paths().unwrap().swap_remove(0);
    let (receipt, policy) = receipt(&leaf, Subject::Record { record: "{\"id\":\"dec_1\"}".into(), place });
    assert_eq!(receipt.verify(&policy).err(), Some(ReceiptError::NotABatch));
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
fn a_receipt_has_one_form_and_every_other_one_is_refused() {
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
