use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_types::Revision;

use super::samples::{at, commit, creation, domain, entry, entry_id, id, written};
use crate::{Batch, Conflict, EntryVersion, Expect, Item, Store, Write};

fn update(before: &Entry, hint: &str) -> Item {
    let after = Arc::new(Entry { revision_number: before.revision_number + 1, hint: hint.into(), ..before.clone() });
    Item::default().expect(Expect::Entry(EntryVersion::of(before))).write(Write::PutEntry(after))
}

pub(super) async fn a_batch_has_one_revision_and_no_gap_follows(store: &dyn Store) {
    let items = vec![creation("a", "/node", "/a"), creation("b", "/node", "/b")];
    let committed = store.commit(Batch::new(&domain(), items)).await.unwrap();
    assert_eq!(committed.revision, Some(Revision(1)));
    assert_eq!(store.commit(Batch::new(&domain(), vec![])).await.unwrap().revision, None);
    assert_eq!(written(store, creation("c", "/node", "/c")).await, Some(Revision(2)));
    assert_eq!(written(store, Write::RemoveEntry(entry_id("never"))).await, None);
    let snapshot = store.snapshot(&domain()).await.unwrap();
    assert_eq!((snapshot.revision, snapshot.entries.len()), (Revision(2), 3));
    assert_eq!(*snapshot.entries[0], entry("a", "/node", "/a"));
}

pub(super) async fn one_that_conflicts_keeps_no_other_out(store: &dyn Store) {
    let items = vec![
        creation("a", "/node", "/a"),
        creation("a", "/node", "/other"),
        creation("b", "/node", "/a").record(super::samples::leaf("b")),
        creation("c", "/node", "/c"),
    ];
    let committed = store.commit(Batch::new(&domain(), items)).await.unwrap();
    let taken = Err(Conflict::EntryExists(entry_id("a")));
    let same = Err(Conflict::Registered(Arc::new(entry("a", "/node", "/a"))));
    assert_eq!(committed.outcomes, [Ok(()), taken, same, Ok(())]);
    let names: Vec<String> =
        store.snapshot(&domain()).await.unwrap().entries.iter().map(|e| e.id.to_string()).collect();
    assert_eq!((names, store.outbox_length(&domain()).await.unwrap()), (vec!["a".to_owned(), "c".into()], 0));
}

pub(super) async fn a_registration_exists_once(store: &dyn Store) {
    written(store, creation("a", "/node", "/a")).await;
    let refused = commit(store, creation("b", "/node", "/a")).await.unwrap_err();
    assert!(matches!(&refused, Conflict::Registered(same) if same.id.as_str() == "a") && !refused.is_stale());
    // Under another parent it is another registration, and an entry is equal to itself.
    written(store, creation("c", "/other", "/a")).await;
    let same = Arc::new(entry("a", "/node", "/a"));
    written(store, Item::default().expect(Expect::Unregistered(same.clone())).write(Write::PutEntry(same))).await;
}

pub(super) async fn a_stale_update_conflicts_and_changes_nothing(store: &dyn Store) {
    written(store, creation("a", "/node", "/a")).await;
    let read = entry("a", "/node", "/a");
    written(store, update(&read, "first")).await;
    let stale = commit(store, update(&read, "second").record(super::samples::leaf("x"))).await.unwrap_err();
    assert!(stale == Conflict::EntryChanged(entry_id("a")) && stale.is_stale());
    let snapshot = store.snapshot(&domain()).await.unwrap();
    assert_eq!((snapshot.revision, snapshot.entries[0].hint.as_str()), (Revision(2), "first"));
    assert_eq!(store.outbox_length(&domain()).await.unwrap(), 0);
    assert!(commit(store, update(&entry("none", "/node", "/n"), "x")).await.is_err());
}

pub(super) async fn an_id_used_again_is_another_entry(store: &dyn Store) {
    written(store, creation("a", "/node", "/a")).await;
    written(store, Write::RemoveEntry(entry_id("a"))).await;
    let again = Entry { created_at: at(5), ..entry("a", "/node", "/a") };
    written(store, Write::PutEntry(Arc::new(again))).await;
    assert!(commit(store, update(&entry("a", "/node", "/a"), "late")).await.is_err());
}

pub(super) async fn children_are_those_that_the_writer_saw(store: &dyn Store) {
    written(store, creation("a", "/node", "/a")).await;
    let none = Expect::Children { parent: id("/a"), ids: [].into() };
    let remove = || Item::from(Write::RemoveEntry(entry_id("a"))).expect(none.clone());
    written(store, creation("below", "/a", "/below")).await;
    let stale = commit(store, remove()).await.unwrap_err();
    assert!(stale == Conflict::ChildrenChanged(id("/a")) && stale.is_stale());
    // An entry that moved away is no longer a child.
    let moved = entry("below", "/elsewhere", "/below");
    written(store, Write::PutEntry(Arc::new(moved))).await;
    written(store, remove()).await;
    let below = Expect::Children { parent: id("/elsewhere"), ids: [entry_id("below")].into() };
    written(store, Item::default().expect(below)).await;
}
