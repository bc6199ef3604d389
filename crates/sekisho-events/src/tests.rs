use std::collections::BTreeSet;

use sekisho_types::{Revision, TrustDomain, UnixTime};

use super::*;

fn leaf(event: Event) -> Leaf {
    let leaf = Leaf::new(TrustDomain::parse("example.org").unwrap(), UnixTime::from_millis(1_795_624_447_578), event);
    if leaf.event.is_key_event() { leaf } else { leaf.at_state(Revision(7)) }
}

fn samples() -> impl Iterator<Item = Event> {
    (0..200).flat_map(|seed| Event::samples(seed * 1_000_003))
}

#[test]
fn every_event_decodes_from_leaf_and_openings() {
    let forms: BTreeSet<_> = samples().map(|event| event.says()).collect();
    assert_eq!(forms.len(), Event::FORMS.len(), "an event has no sample");
    for event in samples() {
        let leaf = leaf(event);
        let encoded = leaf.encode().unwrap();
        let read = Leaf::decode_with_side(&encoded.leaf, &encoded.side);
        assert_eq!(read.as_ref(), Ok(&leaf));
        assert_eq!(read.unwrap().encode().unwrap(), encoded);
        // Without what opens it, a leaf keeps its bytes.
        let sealed = Leaf::decode(&encoded.leaf).unwrap();
        assert_eq!(sealed.encode().unwrap().leaf, encoded.leaf);
    }
}

#[test]
fn a_leaf_has_one_encoding() {
    for event in Event::samples(7) {
        let bytes = leaf(event).encode().unwrap().leaf;
        let text = String::from_utf8(bytes.clone()).unwrap();
        let refused = |text: String| assert!(Leaf::decode(text.as_bytes()).is_err(), "{text}");
        refused(text.replacen(':', ": ", 1));
        refused(text.replacen("\"v\":1", "\"v\":2", 1));
        refused(text.replacen("\"v\":1", "\"v\":1,\"zebra\":1", 1));
        refused(text.replacen("\"at_ms\":", "\"a\":\"\",\"at_ms\":", 1));
        refused(text.replacen("\"kind\":\"", "\"kind\":\"x", 1));
        for cut in 0..bytes.len() {
            assert!(Leaf::decode(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn an_opening_that_fits_nothing_is_refused() {
    let event = AgentBanned {
        agent: Personal::new(
            sekisho_types::SpiffeId::parse("spiffe://example.org/spire/agent/x509pop/a").unwrap(),
            [1; 32],
        ),
        by: Personal::new("uid:0".to_owned(), [2; 32]),
    };
    let encoded = leaf(event.into()).encode().unwrap();
    let openings = openings_of(&encoded.side).unwrap();
    let opened = |change: fn(&mut Opening)| {
        let mut openings = openings.clone();
        change(&mut openings[1]);
        Leaf::opened(&encoded.leaf, openings)
    };
    assert!(opened(|_| {}).is_ok());
    assert_eq!(opened(|by| by.value = "uid:1".into()), Err(LeafError::Opening("by".into())));
    assert_eq!(opened(|by| by.nonce = [3; 32]), Err(LeafError::Opening("by".into())));
    assert_eq!(opened(|by| by.field = "agent".into()), Err(LeafError::Opening("agent".into())));
    assert_eq!(opened(|by| by.field = "other".into()), Err(LeafError::Opening("other".into())));
}

#[test]
fn stored_leaves_decode_to_their_bytes() {
    let golden = include_str!("golden_leaves.txt");
    let mut seen = BTreeSet::new();
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let (leaf, side) = line.split_once('\t').unwrap();
        let read = Leaf::decode_with_side(leaf.as_bytes(), side.as_bytes()).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(read.encode().unwrap(), Encoded { leaf: leaf.into(), side: side.into() });
        seen.insert(read.event.says());
    }
    let missing: Vec<_> =
        Event::FORMS.iter().map(|form| form.says.trim()).filter(|says| !seen.contains(says)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "no bytes of a real leaf for these");
}

#[test]
fn each_member_name_has_one_form() {
    for form in Event::FORMS {
        for member in form.members {
            assert!(
                !["at_ms", "kind", "state_revision", "trust_domain", "v"].contains(&member.name),
                "`{}` is in every leaf",
                member.name
            );
            assert_ne!(Some(member.name), form.tag.map(|(name, _)| name));
        }
    }
}

#[test]
fn the_reference_in_the_documents_is_this_one() {
    let document = include_str!("../../../docs/formats.md");
    assert!(document.contains(&reference()), "run `cargo xtask gen`");
}

#[test]
fn what_an_event_counts_follows_from_its_declaration() {
    let counted = |event: Event| {
        let mut counted = vec![];
        event.count(|counter, number| counted.push((counter, number)));
        counted
    };
    let text = || Personal::new("a".to_owned(), [1; 32]);
    let id = RefusalId::new([7; 16]);
    let refused = |withdrawn| Refused { caller: text(), id, reason: text(), withdrawn };
    let ids = IssuanceIds(vec![IssuanceId::new([1; 16]), IssuanceId::new([2; 16])]);
    assert_eq!(counted(refused(None).into()), [(Counter::Refusals, 1), (Counter::Withdrawals, 0)]);
    assert_eq!(counted(refused(Some(ids)).into()), [(Counter::Refusals, 1), (Counter::Withdrawals, 2)]);
    let many = HandshakesRefused { caller: text(), count: 40, id, reason: text() };
    assert_eq!(counted(many.into()), [(Counter::Refusals, 40)]);
    assert_eq!(counted(RefusalsCounted { caller: None, lost: 9 }.into()), [(Counter::Refusals, 9)]);
    assert_eq!(counted(AuthorityActivated { authority: "a".into() }.into()), [(Counter::KeyEvents, 1)]);
}
