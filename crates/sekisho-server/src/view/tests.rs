use std::time::Duration;

use sekisho_identity::Revoked;
use sekisho_runtime::instant;
use sekisho_types::{Digest, Selector, TrustDomain};

use super::*;

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
}

fn entry(number: usize, path: &str, parent: &str) -> Change {
    let (entry, selectors) =
        (EntryId::parse(&format!("ent_{number:07}")).unwrap(), [Selector::parse("unix:uid:7").unwrap()]);
    Change::Entry(Arc::new(Entry::new(entry, id(path), id(parent), selectors.into())))
}

fn view(changes: &[Change]) -> View {
    let view = View::new(Bundle::empty(TrustDomain::parse("example.org").unwrap()));
    view.apply(Some(Revision(1)), changes);
    view
}

fn listed(view: &View, spiffe_id: Option<&str>, parent: Option<&str>, after: Option<&str>) -> Vec<String> {
    let (spiffe_id, parent, after) = (spiffe_id.map(id), parent.map(id), after.map(|id| EntryId::parse(id).unwrap()));
    view.read(|state| {
        let entries = state.list(spiffe_id.as_ref(), parent.as_ref(), after.as_ref());
        entries.map(|entry| entry.id.as_str().trim_start_matches("ent_000000").to_owned()).collect()
    })
}

#[test]
fn indexes_agree_with_entries_after_changes() {
    let changes: Vec<Change> = [("/a", "/n"), ("/b", "/n"), ("/a", "/m"), ("/a", "/n"), ("/ab", "/n")]
        .iter()
        .enumerate()
        .map(|(number, (path, parent))| entry(number, path, parent))
        .collect();
    let view = view(&changes);
    assert_eq!(listed(&view, None, None, None), ["0", "1", "2", "3", "4"]);
    assert_eq!(listed(&view, Some("/a"), None, None), ["0", "2", "3"]);
    assert_eq!(listed(&view, Some("/a"), None, Some("ent_0000000")), ["2", "3"]);
    assert_eq!(listed(&view, Some("/a"), Some("/n"), None), ["0", "3"]);
    assert_eq!(listed(&view, None, Some("/n"), Some("ent_0000001")), ["3", "4"]);
    assert!(listed(&view, Some("/none"), None, None).is_empty());
    // Moved, renamed, removed.
    view.apply(None, &[entry(0, "/b", "/m"), Change::EntryRemoved(EntryId::parse("ent_0000003").unwrap())]);
    assert_eq!(listed(&view, Some("/a"), None, None), ["2"]);
    assert_eq!(listed(&view, Some("/b"), None, None), ["0", "1"]);
    assert_eq!(listed(&view, None, Some("/m"), None), ["0", "2"]);
    assert_eq!(listed(&view, None, Some("/n"), None), ["1", "4"]);
}

#[test]
fn law_l14_policies_and_revocations_are_required() {
    let view = view(&[entry(0, "/a", "/n")]);
    let policy = PolicyRecord { revision: 1, digest: Digest::new([7; 32]), at: UnixTime::default(), files: vec![] };
    let (what, reason) = (Revoked::SpiffeId(id("/a")), "was revoked".to_owned());
    let (at, until) = (UnixTime::from_seconds(1), UnixTime::from_seconds(900));
    let revocation = Revocation { what, revision: Revision(5), at, until, reason };
    let required = |revision, change| {
        view.apply(Some(Revision(revision)), &[change]);
        view.read(|state| state.required.0)
    };
    assert_eq!(required(2, entry(1, "/b", "/n")), 0);
    assert_eq!(required(3, Change::Policy(Arc::new(policy))), 3);
    assert_eq!(required(4, entry(2, "/c", "/n")), 3);
    assert_eq!(required(5, Change::Revoked(Arc::new(revocation))), 5);
    // All that a server starts with.
    view.fill(Snapshot { revision: Revision(9), ..Snapshot::default() }, Past::default());
    assert_eq!(view.read(|state| state.required.0), 9);
}

/// Walking all entries for each of these would take half a minute; at a million entries, minutes.
#[test]
fn queries_do_not_scan_all_entries() {
    let count = std::env::var("SEKISHO_LAB_ENTRIES").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let changes: Vec<Change> =
        (0..count).map(|number| entry(number, &format!("/svc/{number}"), &format!("/node/{}", number % 100))).collect();
    let view = view(&changes);
    let began = instant();
    for number in 0..1000 {
        let (known, unknown) = (id(&format!("/svc/{number}")), id(&format!("/none/{number}")));
        let parent = id(&format!("/node/{}", number % 100));
        view.read(|state| {
            assert_eq!((state.entries_of(&known).count(), state.entries_of(&unknown).count()), (1, 0));
            assert_eq!(state.list(Some(&known), None, None).count(), 1);
            assert_eq!(state.list(None, Some(&parent), None).take(10).count(), 10);
        });
    }
    let each = began.elapsed() / 1000;
    println!("{count} entries: {each:?} for two look-ups by SPIFFE ID and two lists");
    assert!(each < Duration::from_millis(2), "{each:?}");
}
