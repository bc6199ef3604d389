use std::collections::BTreeSet;

use sekisho_types::{Claims, Selector, TrustDomain};

use super::*;
use crate::Issuance;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
}

fn entry_id(text: &str) -> EntryId {
    EntryId::parse(text).unwrap()
}

/// An SVID for `/a` from entry `ent_1` by `agent`, issued at `revision`.
fn leaf(agent: &str, revision: u64) -> LeafFacts {
    LeafFacts {
        spiffe_id: id("/a"),
        not_before: NOW,
        not_after: NOW.plus_seconds(900),
        serial: "0a".into(),
        claims: Claims::default(),
        issuance: Some(Issuance {
            revision: Revision(revision),
            entry: Some(entry_id("ent_1")),
            agent: Some(AgentKey::of(&id(agent))),
            required: None,
        }),
        public_key: vec![],
    }
}

fn revocation(what: Revoked, revision: u64) -> Revocation {
    let (at, until) = (NOW.plus_seconds(5), NOW.plus_seconds(905));
    Revocation { what, revision: Revision(revision), at, until, reason: "was deleted".into() }
}

fn of_entry(entry: &str, path: &str) -> Revoked {
    Revoked::Entry { id: entry_id(entry), spiffe_id: id(path) }
}

fn with(whats: Vec<Revoked>) -> Revocations {
    let mut all = Revocations::default();
    whats.into_iter().for_each(|what| assert!(all.add(revocation(what, 7))));
    all
}

#[test]
fn law_l12_a_revocation_concerns_earlier_svids_only() {
    let (node, other) = ("/spire/agent/one", "/spire/agent/two");
    for what in
        [of_entry("ent_1", "/a"), Revoked::Agent(id(node)), Revoked::SpiffeId(id("/a")), Revoked::Serial("0a".into())]
    {
        let all = with(vec![what.clone()]);
        assert!(all.find(&leaf(node, 6)).is_some(), "{what:?}");
        // An agent that attested again, or an entry that was changed back, issues at a later revision.
        assert!(all.find(&leaf(node, 7)).is_none(), "{what:?}");
    }
    for what in [
        of_entry("ent_2", "/a"),
        of_entry("ent_1", "/b"),
        Revoked::Agent(id(other)),
        Revoked::SpiffeId(id("/b")),
        Revoked::Serial("0b".into()),
    ] {
        assert!(with(vec![what.clone()]).find(&leaf(node, 6)).is_none(), "{what:?}");
    }
    let own = LeafFacts { spiffe_id: id(node), ..leaf(node, 6) };
    assert!(with(vec![Revoked::Agent(id(node))]).find(&own).is_some(), "the agent's own SVID");
}

#[test]
fn an_svid_without_origin_uses_id_and_time() {
    let old = LeafFacts { issuance: None, ..leaf("/spire/agent/one", 0) };
    let all = with(vec![of_entry("ent_9", "/a")]);
    assert!(all.find(&old).is_some());
    assert!(all.find(&LeafFacts { not_before: NOW.plus_seconds(6), ..old.clone() }).is_none());
    assert!(all.find(&LeafFacts { spiffe_id: id("/b"), ..old }).is_none());
}

/// Which agent asked for it is not in it, so a ban that came later is taken to mean it.
#[test]
fn law_l12_a_later_ban_revokes_svids_of_earlier_releases() {
    let old = LeafFacts { issuance: None, ..leaf("/spire/agent/one", 0) };
    let all = with(vec![Revoked::Agent(id("/spire/agent/one"))]);
    assert!(all.find(&old).is_some());
    assert!(all.find(&LeafFacts { not_before: NOW.plus_seconds(6), ..old.clone() }).is_none(), "issued after it");
    assert!(all.find(&leaf("/spire/agent/two", 6)).is_none(), "asked for by another agent");
    for path in ["/spire/agent/two", "/spire/server"] {
        assert!(all.find(&LeafFacts { spiffe_id: id(path), ..old.clone() }).is_none(), "{path} speaks for itself");
    }
}

#[test]
fn a_later_revocation_never_shortens_an_earlier_one() {
    let mut all = with(vec![of_entry("ent_1", "/a")]);
    let later = Revocation { until: NOW, ..revocation(of_entry("ent_1", "/a"), 9) };
    assert!(all.add(later.clone()) && !all.add(later));
    assert!(!all.add(revocation(of_entry("ent_1", "/a"), 8)));
    assert_eq!((all.len(), all.iter().next().unwrap().until), (1, NOW.plus_seconds(905)));
    assert!(all.find(&leaf("/spire/agent/one", 8)).is_some());
}

#[test]
fn law_l9_a_revocation_outlives_its_svids() {
    let mut all = with(vec![of_entry("ent_1", "/a"), Revoked::Agent(id("/spire/agent/one"))]);
    all.prune(NOW.plus_seconds(905));
    assert_eq!(all.len(), 2);
    all.prune(NOW.plus_seconds(905 + 3601));
    assert!(all.is_empty() && all.agents.is_empty());
}

#[test]
fn only_what_a_receiver_lacks_is_beyond_it() {
    let (few, mut more) = (with(vec![of_entry("ent_1", "/a")]), with(vec![of_entry("ent_1", "/a")]));
    more.add(revocation(of_entry("ent_2", "/a"), 8));
    assert_eq!(few.beyond(&more).count(), 0);
    assert_eq!(more.beyond(&few).map(|one| one.revision).collect::<Vec<_>>(), [Revision(8)]);
    more.add(revocation(of_entry("ent_1", "/a"), 9));
    assert_eq!(more.beyond(&few).count(), 2);
}

fn entry() -> Entry {
    let selectors = ["unix:uid:1", "unix:gid:2"].map(|text| Selector::parse(text).unwrap());
    Entry {
        x509_ttl_seconds: 600,
        federates_with: BTreeSet::from([TrustDomain::parse("other.org").unwrap()]),
        expires_at: Some(NOW),
        dns_names: vec!["a.internal".into(), "b.internal".into()],
        created_at: NOW,
        ..Entry::new(entry_id("ent_1"), id("/a"), id("/spire/agent/one"), selectors.into())
    }
}

#[test]
fn a_change_revokes_if_it_takes_something_away() {
    let changed = |change: fn(&mut Entry)| {
        let mut after = entry();
        change(&mut after);
        narrows(&entry(), &after)
    };
    let narrower: [fn(&mut Entry); 9] = [
        |entry| entry.spiffe_id = id("/b"),
        |entry| entry.parent_id = id("/spire/agent/two"),
        |entry| entry.selectors.extend(Selector::parse("unix:path:/bin/x")),
        |entry| entry.selectors = [Selector::parse("unix:uid:3").unwrap()].into(),
        |entry| drop(entry.dns_names.pop()),
        |entry| entry.expires_at = Some(NOW.plus_seconds(-1)),
        |entry| entry.x509_ttl_seconds = 300,
        |entry| entry.x509_ttl_seconds = 0,
        |entry| entry.tpm_key = true,
    ];
    assert_eq!(narrower.map(changed), [true; 9]);
    let wider: [fn(&mut Entry); 7] = [
        |_| {},
        |entry| entry.selectors = [Selector::parse("unix:uid:1").unwrap()].into(),
        |entry| entry.dns_names.reverse(),
        |entry| entry.dns_names.push("c.internal".into()),
        |entry| entry.expires_at = None,
        |entry| entry.x509_ttl_seconds = 900,
        |entry| entry.hint = "main".into(),
    ];
    assert_eq!(wider.map(changed), [false; 7]);
}
