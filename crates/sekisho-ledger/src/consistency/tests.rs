use super::*;
use crate::test_log::{TestKey, TestLog};
use crate::{consistency_path, leaf_hash};

fn log_of(size: u64) -> TestLog {
    let mut log = TestLog::new("example.org/sekisho");
    (0..size).for_each(|index| log.push(leaf_hash(&index.to_be_bytes())));
    log
}

fn proof(log: &TestLog, old: u64, new: u64) -> ConsistencyProof {
    let path = if old == 0 { vec![] } else { consistency_path(old, new, &log.stored()).unwrap() };
    ConsistencyProof { old_size: old, path, checkpoint: log.signed(new) }
}

#[test]
fn consistency_holds_for_every_older_tree_only() {
    let log = log_of(70);
    let policy = TrustPolicy::parse(&log.policy()).unwrap();
    for new in 1..=70 {
        for old in 0..=new {
            let proof = ConsistencyProof::parse(&proof(&log, old, new).to_string()).unwrap();
            assert_eq!(proof.verify(&log.at(old), &policy).unwrap().size, new, "{old} {new}");
            let other = Checkpoint { root: [7; 32], ..log.at(old) };
            assert!(matches!(proof.verify(&other, &policy), Err(ConsistencyError::Fork(_))), "{old} {new}");
            if old > 0 {
                let elsewhere = proof.verify(&log.at(old - 1), &policy);
                assert!(matches!(elsewhere, Err(ConsistencyError::OldSize { .. })));
            }
        }
    }
    assert!(consistency_path(8, 7, &log.stored()).is_err() && consistency_path(0, 7, &log.stored()).is_err());
}

#[test]
fn a_consistency_proof_has_one_form() {
    let (log, mut other) = (log_of(9), log_of(9));
    let text = proof(&log, 5, 9).to_string();
    for changed in [
        text.replace("old 5", "old 05"),
        text.replace("old 5", "old +5"),
        text.replacen('\n', "\r\n", 1),
        text.replacen("\n\n", "\n", 1),
        format!("{text}\n"),
        text.replacen('\n', &format!("\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(64)), 1),
    ] {
        assert!(ConsistencyProof::parse(&changed).is_err(), "{changed}");
    }
    let policy = TrustPolicy::parse(&log.policy()).unwrap();
    other.origin = "example.org/other".to_owned();
    let verified = ConsistencyProof::parse(&text).unwrap().verify(&other.at(5), &policy);
    assert!(matches!(verified, Err(ConsistencyError::Origins(..))));
}

#[test]
fn a_cosignature_counts_for_its_key_and_checkpoint() {
    let (log, witness, other) = (log_of(3), TestKey::new(), TestKey::new());
    let key = witness.verifier("w.example", 4);
    let (note, text) = (log.signed(3), log.at(3).to_string());
    let good = witness.cosign("w.example", 5, &text);
    assert_eq!(cosignatures(&note, &good, &key).unwrap(), good);
    let unknown = other.cosign("other.example", 5, &text);
    assert_eq!(cosignatures(&note, &format!("{unknown}{good}{unknown}"), &key).unwrap(), good);
    assert_eq!(cosignatures(&note, &format!("{good}{good}"), &key).unwrap(), good, "once");
    let elsewhere = witness.cosign("w.example", 5, &log.at(2).to_string());
    for answer in [elsewhere.as_str(), unknown.as_str(), "", "\n", good.trim_end(), "not a line\n"] {
        assert!(cosignatures(&note, answer, &key).is_err(), "{answer:?}");
    }
}

#[test]
fn two_histories_are_detected() {
    let log = log_of(20);
    let policy = TrustPolicy::parse(&log.policy()).unwrap();
    let check =
        |a: u64, b: u64, proof: Option<&ConsistencyProof>| check_consistent(&log.at(a), &log.at(b), proof, &policy);
    check(7, 7, None).unwrap();
    assert!(matches!(check(7, 20, None), Err(ConsistencyError::NoProof { old: 7, new: 20 })));
    let good = proof(&log, 7, 20);
    check(7, 20, Some(&good)).unwrap();
    check(20, 7, Some(&good)).unwrap();
    assert!(matches!(check(7, 19, Some(&good)), Err(ConsistencyError::OtherCheckpoint)));
    assert!(matches!(check(8, 20, Some(&good)), Err(ConsistencyError::OldSize { .. })));
    let fork = Checkpoint { root: [9; 32], ..log.at(7) };
    for proof in [None, Some(&good)] {
        let size = if proof.is_some() { 20 } else { 7 };
        let forked = check_consistent(&fork, &log.at(size), proof, &policy);
        assert!(matches!(forked, Err(ConsistencyError::Fork(_))), "{forked:?}");
    }
}
