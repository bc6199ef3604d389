use std::sync::Arc;

use sekisho_identity::Node;
use sekisho_types::{Digest, SpiffeId, UnixTime};

use super::samples::{at, commit, domain, id, node, written};
use crate::{AlertRecord, AlertSeverity, Batch, Conflict, DeviceRecord, Expect, Item, Store, Write};

const KEY: Digest = Digest::new([7; 32]);

/// A node that attests by this device.
fn claim(key: Digest, path: &str) -> Item {
    let bind = Write::BindDevice { key, node: id(path), about: "a TPM".to_owned(), at: at(5) };
    let expected = Expect::Device { key, node: id(path), since: at(10), approved: false };
    Item::default().expect(expected).write(Write::PutNode(Arc::new(node(path, "1")))).write(bind)
}

fn seen(key: u8, seconds: i64) -> Write {
    Write::SeeDevice { key: Digest::new([key; 32]), about: String::new(), at: at(seconds), keep: 3 }
}

async fn owner(store: &dyn Store, key: Digest) -> Option<SpiffeId> {
    store.device(&domain(), &key).await.unwrap().and_then(|device| device.node)
}

pub(super) async fn a_device_is_one_node_permanently(store: &dyn Store) {
    written(store, claim(KEY, "/a")).await;
    written(store, claim(KEY, "/a")).await;
    assert_eq!(commit(store, claim(KEY, "/b")).await, Err(Conflict::DeviceTaken(KEY)));
    assert!(!Conflict::DeviceTaken(KEY).is_stale());
    // Also when the node is gone.
    written(store, Write::RemoveNode { id: id("/a"), at: at(9) }).await;
    assert_eq!(commit(store, claim(KEY, "/b")).await, Err(Conflict::DeviceTaken(KEY)));
    written(store, Write::ApproveDevice { key: KEY, by: None }).await;
    assert_eq!(owner(store, KEY).await, Some(id("/a")));
    assert!(store.snapshot(&domain()).await.unwrap().nodes.is_empty(), "a refused claim makes no node");
}

pub(super) async fn a_device_keeps_what_was_known_of_its_node(store: &dyn Store) {
    written(store, claim(KEY, "/a")).await;
    let shown = Node { remembered: Some("{\"pcr\":1}".into()), ..node("/a", "1") };
    written(store, Write::NodeState(Arc::new(shown))).await;
    written(store, Write::RemoveNode { id: id("/a"), at: at(20) }).await;
    let device = store.device(&domain(), &KEY).await.unwrap().unwrap();
    assert_eq!((device.remembered.as_deref(), device.removed_at), (Some("{\"pcr\":1}"), at(20)));
    // What it proved before counts no more; what it proves afterwards does.
    assert_eq!(commit(store, claim(KEY, "/a")).await, Err(Conflict::DeviceRemoved(KEY)));
    let expects = |since, approved| Expect::Device { key: KEY, node: id("/a"), since: at(since), approved };
    written(store, Item::default().expect(expects(21, false))).await;
    assert_eq!(commit(store, Item::default().expect(expects(21, true))).await, Err(Conflict::DeviceNotApproved(KEY)));
    written(store, Write::ApproveDevice { key: KEY, by: Some("uid:0".to_owned()) }).await;
    written(store, Item::default().expect(expects(21, true))).await;
    let kept = store.device(&domain(), &KEY).await.unwrap().unwrap();
    assert_eq!((kept.remembered, kept.removed_at), (device.remembered, at(20)));
}

pub(super) async fn of_two_claims_of_a_device_one_wins(store: &dyn Store) {
    for number in 0..20 {
        let key = Digest::new([number; 32]);
        let [one, other] = ["one", "other"].map(|name| format!("/{name}/{number}"));
        let batch = |path: &str| store.commit(Batch::new(&domain(), vec![claim(key, path)]));
        let (first, second) = tokio::join!(batch(&one), batch(&other));
        let outcomes = [first, second].map(|committed| committed.unwrap().outcomes.remove(0));
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let winner = if outcomes[0].is_ok() { one } else { other };
        assert_eq!(owner(store, key).await, Some(id(&winner)));
    }
    assert_eq!(store.snapshot(&domain()).await.unwrap().nodes.len(), 20);
}

pub(super) async fn an_approved_device_stays_on_the_list(store: &dyn Store) {
    let approved = |by: Option<&str>| Write::ApproveDevice { key: KEY, by: by.map(str::to_owned) };
    written(store, approved(Some("uid:0"))).await;
    for number in 1..6 {
        written(store, seen(number, i64::from(number))).await;
    }
    written(store, Write::SeeDevice { key: KEY, about: "a TPM".to_owned(), at: at(9), keep: 3 }).await;
    let expected = DeviceRecord {
        key: KEY,
        node: None,
        approved_by: Some("uid:0".to_owned()),
        about: "a TPM".to_owned(),
        seen_at: at(9),
        remembered: None,
        removed_at: UnixTime::default(),
    };
    assert_eq!(store.device(&domain(), &KEY).await.unwrap(), Some(expected));
    written(store, approved(None)).await;
    assert_eq!(store.device(&domain(), &KEY).await.unwrap(), None, "it is neither approved nor a node");
}

pub(super) async fn a_bounded_number_of_devices_waits(store: &dyn Store) {
    for number in [5, 1, 4, 2, 3] {
        written(store, seen(number, i64::from(number))).await;
    }
    let waiting: Vec<u8> =
        store.devices(&domain()).await.unwrap().iter().map(|device| device.key.as_bytes()[0]).collect();
    assert_eq!(waiting, [3, 4, 5], "those that were seen last");
}

pub(super) async fn alerts_are_listed_from_one_on(store: &dyn Store) {
    let alert = |number: i64| AlertRecord {
        id: format!("alr_{number}"),
        at: at(number),
        severity: AlertSeverity::Critical,
        kind: "attestation denied".to_owned(),
        agent: id("/n"),
        reason: "PCR 4 changed".to_owned(),
        good_at: (number > 2).then(|| at(1)),
    };
    for number in [2, 1, 3, 4] {
        written(store, Write::PutAlert { alert: alert(number), keep: 3 }).await;
    }
    let listed = async |after: Option<&str>, limit| store.alerts(&domain(), after, limit).await.unwrap();
    assert_eq!(listed(None, 10).await, [alert(2), alert(3), alert(4)], "the newest are kept");
    assert_eq!(listed(None, 2).await, [alert(3), alert(4)]);
    assert_eq!(listed(Some("alr_2"), 1).await, [alert(3)]);
    assert!(listed(Some("alr_4"), 5).await.is_empty());
}
