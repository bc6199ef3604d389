use std::sync::{Arc, Mutex};

use sekisho_types::{Revision, TrustDomain};

use super::samples::{at, commit, creation, domain, entry, entry_id, id, node, written};
use crate::{Batch, Change, ChangedId, Epoch, EpochRecord, History, Store, Write};

pub(super) async fn observers_hear_before_the_caller_goes_on(store: &dyn Store) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let to = heard.clone();
    store.observe(Box::new(move |delta| to.lock().unwrap().push(delta.clone())));
    written(store, creation("a", "/node", "/a")).await;
    assert_eq!(heard.lock().unwrap().len(), 1);
    commit(store, creation("a", "/node", "/b")).await.unwrap_err();
    written(store, Write::PutNode(Arc::new(node("/n", "1")))).await;
    written(store, Write::NodeVersion { id: id("/n"), version: "2".into() }).await;
    let heard = heard.lock().unwrap();
    assert!(matches!(&heard[0].changes[..], [Change::Entry(entry)] if entry.id.as_str() == "a"));
    assert_eq!((heard[0].revision, heard[1].changes.len(), heard[1].revision), (Some(Revision(1)), 0, None));
    assert!(matches!(&heard[3].changes[..], [Change::Node(node)] if node.version == "2"));
    assert_eq!((heard[3].revision, heard[3].leaves), (None, 0));
}

pub(super) async fn history_names_what_changed_and_its_parents(store: &dyn Store) {
    written(store, creation("a", "/node", "/a")).await;
    written(store, Write::PutEntry(Arc::new(entry("a", "/other", "/a")))).await;
    written(store, Write::PutNode(Arc::new(node("/n", "1")))).await;
    written(store, Write::RemoveEntry(entry_id("a"))).await;
    written(store, Write::RemoveNode { id: id("/n"), at: at(9) }).await;
    let History::Known(changed) = store.history(&domain(), Revision(1)).await.unwrap() else { panic!("too old") };
    let entry = |parents: &[&str]| ChangedId::Entry {
        id: entry_id("a"),
        parents: parents.iter().map(|parent| id(parent)).collect(),
        spiffe_ids: vec![id("/a")],
    };
    let expected =
        [entry(&["/other", "/node"]), ChangedId::Node(id("/n")), entry(&["/other"]), ChangedId::Node(id("/n"))];
    assert_eq!(changed.iter().map(|one| one.what.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(changed.iter().map(|one| one.revision.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
    // Several changes under one revision, two of them of one entry.
    let items =
        vec![creation("b", "/node", "/b"), Write::PutEntry(Arc::new(super::samples::entry("b", "/m", "/b"))).into()];
    store.commit(Batch::new(&domain(), items)).await.unwrap();
    let History::Known(changed) = store.history(&domain(), Revision(5)).await.unwrap() else { panic!("too old") };
    let [ChangedId::Entry { parents, .. }] = &changed.iter().map(|one| one.what.clone()).collect::<Vec<_>>()[..] else {
        panic!("{changed:?}")
    };
    assert!(parents.contains(&id("/node")) && parents.contains(&id("/m")));
}

pub(super) async fn history_of_a_time_that_is_unknown_is_too_old(store: &dyn Store) {
    assert_eq!(store.history(&domain(), Revision(0)).await.unwrap(), History::Known(vec![]));
    assert_eq!(store.history(&domain(), Revision(3)).await.unwrap(), History::TooOld, "a state that was put back");
    written(store, creation("a", "/node", "/a")).await;
    assert_eq!(store.history(&domain(), Revision(1)).await.unwrap(), History::Known(vec![]));
    written(store, Write::JumpBeyond { floor: Revision(9), since: Revision(0) }).await;
    assert_eq!(store.history(&domain(), Revision(1)).await.unwrap(), History::TooOld);
}

pub(super) async fn the_past_is_bounded_and_names_its_epochs(store: &dyn Store) {
    let began = |byte: u8| Write::BeginEpoch(Epoch([byte; 16]));
    assert_eq!(written(store, began(1)).await, None, "an epoch takes no revision");
    for name in ["a", "b"] {
        written(store, creation(name, "/node", &format!("/{name}"))).await;
    }
    written(store, began(2)).await;
    written(store, creation("c", "/node", "/c")).await;
    let past = store.past(&domain(), 10).await.unwrap();
    let record = |byte: u8, from| EpochRecord { epoch: Epoch([byte; 16]), from: Revision(from) };
    assert_eq!(past.epochs, [record(1, 0), record(2, 2)]);
    assert_eq!((past.since, past.changed.len()), (Revision(0), 3));
    let past = store.past(&domain(), 2).await.unwrap();
    let revisions: Vec<u64> = past.changed.iter().map(|one| one.revision.0).collect();
    assert_eq!((past.since, revisions), (Revision(1), vec![2, 3]));
    for byte in 0..=255 {
        written(store, began(byte)).await;
    }
    assert_eq!(store.past(&domain(), 0).await.unwrap().epochs.len(), 256);
}

pub(super) async fn trust_domains_do_not_mix(store: &dyn Store) {
    let other = TrustDomain::parse("other.org").unwrap();
    written(store, creation("a", "/node", "/a")).await;
    let committed = store.commit(Batch::of(&other, super::samples::recorded("x"))).await.unwrap();
    assert_eq!(committed.revision, Some(Revision(1)));
    assert!(store.snapshot(&other).await.unwrap().entries.is_empty());
    assert_eq!((store.outbox_length(&domain()).await.unwrap(), store.outbox_length(&other).await.unwrap()), (0, 1));
}
