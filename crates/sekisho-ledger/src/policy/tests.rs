use super::*;
use crate::test_log::{TestKey, TestLog};

#[test]
fn one_key_is_one_party_whatever_its_names() {
    let (log, key, other) = (TestLog::new("example.org/sekisho"), TestKey::new(), TestKey::new());
    let own = log.key.verifier("example.org/sekisho", 1);
    let two = |first: &VerifierKey, second: &VerifierKey| {
        TrustPolicy::parse(&format!("log {own}\nwitness a {first}\nwitness b {second}\ngroup g 2 a b\nquorum g\n"))
    };
    let (first, again) = (key.verifier("w1.example", 4), key.verifier("w2.example", 4));
    two(&first, &other.verifier("w2.example", 4)).unwrap();
    let refused = two(&first, &again).unwrap_err().to_string();
    assert!(
        refused.contains("w1.example") && refused.contains("w2.example") && refused.contains("line 3"),
        "{refused}"
    );
    let refused = two(&first, &log.key.verifier("w3.example", 4)).unwrap_err().to_string();
    assert!(refused.contains("w3.example") && refused.contains("example.org/sekisho"), "{refused}");
    // Two logs are two keys as well.
    let logs = format!("log {own}\nlog {}\nquorum none\n", log.key.verifier("example.org/other", 1));
    assert!(matches!(TrustPolicy::parse(&logs), Err(PolicyError::DuplicateKey { line: 2, .. })));
    // And a log chooses no witness that has its own key.
    let witness = format!("witness a {}\nquorum a\n", log.key.verifier("w3.example", 4));
    assert!(TrustPolicy::for_log(&witness, &own).is_err());
}

#[test]
fn one_key_is_one_witness() {
    let (log, key, other) = (TestLog::new("example.org/sekisho"), TestKey::new(), TestKey::new());
    let own = log.key.verifier("example.org/sekisho", 1);
    let (a, b) = (key.verifier("w1.example", 4), other.verifier("w2.example", 4));
    let policy = format!("log {own}\nwitness a {a}\nwitness b {b} https://w2.example/\ngroup g 2 a b\nquorum g\n");
    let policy = TrustPolicy::parse(&policy).unwrap();
    let (note, text) = (log.signed(0), log.at(0).to_string());
    let twice = format!("{note}{}{}", key.cosign("w1.example", 1, &text), key.cosign("w1.example", 2, &text));
    assert!(matches!(policy.verify(&twice), Err(PolicyError::Witnesses)));
    let renamed = format!("{note}{}{}", key.cosign("w1.example", 1, &text), key.cosign("w2.example", 2, &text));
    assert!(policy.verify(&renamed).is_err());
    let both = format!("{note}{}{}", key.cosign("w1.example", 1, &text), other.cosign("w2.example", 2, &text));
    policy.verify(&both).unwrap();
    let urls: Vec<_> = policy.witnesses().iter().map(|witness| witness.url.as_deref()).collect();
    assert_eq!(urls, [None, Some("https://w2.example/")]);
}

#[test]
fn a_key_serves_one_role() {
    let (log, key) = (TestKey::new(), TestKey::new());
    let policy = |log_kind: u8, witness_kind: u8| {
        let (log, witness) = (log.verifier("l.example", log_kind), key.verifier("w.example", witness_kind));
        TrustPolicy::parse(&format!("log {log}\nwitness w {witness}\nquorum w\n"))
    };
    policy(1, 4).unwrap();
    assert_eq!(policy(1, 1).err(), Some(PolicyError::Kind(2)));
    assert_eq!(policy(4, 4).err(), Some(PolicyError::Kind(1)));
}

#[test]
fn policy_words_are_split_at_blanks() {
    let (log, key) = (TestKey::new().verifier("l.example", 1), TestKey::new().verifier("w.example", 4));
    let policy = |text: String| TrustPolicy::parse(&text);
    let with = |group: &str| policy(format!("log {log}\nwitness w\t{key}\n{group}\nquorum g\n"));
    with("group g 1 w").unwrap();
    for group in ["group g +1 w", "group g 01x w", "group g 1\u{a0}w", "group g 1 w\r"] {
        assert!(with(group).is_err(), "{group:?}");
    }
}
