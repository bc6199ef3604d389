use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::form::OBJECTS;
use super::*;

fn records() -> impl Iterator<Item = &'static str> {
    include_str!("golden_records.txt").lines().filter(|line| !line.starts_with('#'))
}

fn form_of(event: &NodeEvent) -> &'static str {
    match event {
        NodeEvent::Decided(_) => "decided",
        NodeEvent::PeerRefused(_) => "peer refused",
        NodeEvent::NoIdentity(_) => "no identity",
        NodeEvent::CallRefused(_) => "call refused",
    }
}

#[test]
fn stored_records_decode_to_their_bytes() {
    let mut seen = BTreeSet::new();
    for record in records() {
        let event = NodeEvent::decode(record.as_bytes()).unwrap_or_else(|e| panic!("{e}: {record}"));
        assert_eq!(String::from_utf8(event.encode()).unwrap(), record);
        let head = RecordHead::read(record.as_bytes()).unwrap();
        assert_eq!((head.id, head.class), (event.id(), event.class()), "{record}");
        seen.insert(form_of(&event));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn members_that_are_unknown_are_passed_over() {
    for record in records() {
        let mut newer: Json = serde_json::from_str(record).unwrap();
        newer["zebra"] = Json::from(1);
        if newer["kind"] == "decision" {
            newer["input"]["subject"]["zebra"] = Json::from("new");
            newer["facts"]["score"] = Json::from(7);
        }
        assert_eq!(NodeEvent::from_json(&newer), NodeEvent::decode(record.as_bytes()), "{newer}");
    }
}

#[test]
fn a_member_of_another_form_is_refused() {
    for record in records() {
        let whole: Json = serde_json::from_str(record).unwrap();
        for name in whole.as_object().unwrap().keys() {
            let mut other = whole.clone();
            other[name] = serde_json::json!([[]]);
            assert!(NodeEvent::from_json(&other).is_err(), "{name} in {record}");
        }
    }
}

#[test]
fn a_record_without_a_required_member_is_refused() {
    let decided = records().next().unwrap();
    for name in
        ["at_ms", "effect", "facts", "id", "input", "kind", "latency_us", "now_ns", "policy_revision", "span_id"]
    {
        let mut other: Json = serde_json::from_str(decided).unwrap();
        assert!(other.as_object_mut().unwrap().remove(name).is_some());
        assert!(NodeEvent::from_json(&other).is_err(), "{name}");
    }
}

#[test]
fn a_repeated_member_or_another_kind_is_refused() {
    let decided = records().next().unwrap();
    let repeated = decided.replacen("\"effect\":", "\"effect\":\"allow\",\"effect\":", 1);
    assert!(matches!(NodeEvent::decode(repeated.as_bytes()), Err(NodeEventError::NotStrict(_))));
    let other = decided.replace("\"kind\":\"decision\"", "\"kind\":\"flow\"");
    assert_eq!(NodeEvent::decode(other.as_bytes()), Err(NodeEventError::Kind("flow".into())));
}

/// In that order they are written, so that what is written is canonical.
#[test]
fn members_are_declared_in_byte_order() {
    for object in OBJECTS {
        assert!(object.members.is_sorted_by_key(|(name, _)| *name), "{}", object.says);
    }
}

#[test]
fn an_id_has_one_text() {
    let digits = "01a214e4af03a160ff3a13d83a0d1d87";
    for (kind, class) in [("dec", RecordClass::Deny), ("ref", RecordClass::Refusal)] {
        let id = RecordId::parse(&format!("{kind}_{digits}")).unwrap();
        assert_eq!(id.to_string(), format!("{kind}_{digits}"));
        assert_eq!(RecordId::of(class, id.key()), id);
        assert_eq!(id.at_ms(), 0x01a2_14e4_af03);
    }
    for text in [format!("att_{digits}"), format!("dec_{}", digits.to_uppercase()), "dec_01".into(), String::new()] {
        assert_eq!(RecordId::parse(&text), None, "{text}");
    }
}

#[test]
fn the_reference_in_the_documents_is_this_one() {
    let document = include_str!("../../../../docs/formats.md");
    assert!(document.contains(&node_reference()), "run `cargo xtask gen`");
}
