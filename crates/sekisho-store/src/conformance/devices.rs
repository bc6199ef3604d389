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
    seen_from("192.0.2.1", key, seconds)
}

fn seen_from(network: &str, key: u8, seconds: i64) -> Write {
    let network = network.to_owned();
    Write::SeeDevice { key: Digest::new([key; 32]), about: String::new(), network, at: at(seconds), keep: 3 }
}

async fn waiting(store: &dyn Store) -> Vec<u8> {
    store.devices(&domain()).await.unwrap().iter().map(|device| device.key.as_bytes()[0]).collect()
}

async fn owner(store: &dyn Store, key: Digest) -> Option<SpiffeId> {
    store.device(&domain(), &key).await.unwrap().and_then(|device| device.node)
}

pub(super) async fn cve_2025_13609_a_device_is_one_node(store: &dyn Store) {
    written(store, claim(KEY, "/a")).await;
    written(store, claim(KEY, "/a")).await;
    assert_eq!(commit(store, claim(KEY, "/b")).await, Err(Conflict::DeviceTaken(KEY)));
    assert!(!Conflict::DeviceTaken(KEY).is_stale());
    // Also when the node is gone.
    written(store, Write::RemoveNode { id: id("/a"), at: at(9) }).await;
    assert_eq!(commit(store, claim(KEY, "/b")).await, Err(Conflict::DeviceTaken(KEY)));
    written(store, Write::ApproveDevice { key: KEY, by: None, at: at(11) }).await;
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
    written(store, Write::ApproveDevice { key: KEY, by: Some("uid:0".to_owned()), at: at(22) }).await;
    written(store, Item::default().expect(expects(21, true))).await;
    let kept = store.device(&domain(), &KEY).await.unwrap().unwrap();
    assert_eq!((kept.remembered, kept.removed_at), (device.remembered, at(20)));
}

pub(super) async fn cve_2025_13609_of_two_claims_one_wins(store: &dyn Store) {
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
    let approved = |by: Option<&str>| Write::ApproveDevice { key: KEY, by: by.map(str::to_owned), at: at(7) };
    written(store, approved(Some("uid:0"))).await;
    for number in 1..6 {
        written(store, seen(number, i64::from(number))).await;
    }
    let (about, network) = ("a TPM".to_owned(), "192.0.2.9".to_owned());
    written(store, Write::SeeDevice { key: KEY, about, network, at: at(9), keep: 3 }).await;
    let expected = DeviceRecord {
        key: KEY,
        node: None,
        approved_by: Some("uid:0".to_owned()),
        about: "a TPM".to_owned(),
        seen_at: at(9),
        remembered: None,
        removed_at: UnixTime::default(),
        network: "192.0.2.9".to_owned(),
        revoked_at: UnixTime::default(),
    };
    assert_eq!(store.device(&domain(), &KEY).await.unwrap(), Some(expected));
    written(store, approved(None)).await;
    assert_eq!(store.device(&domain(), &KEY).await.unwrap(), None, "it is neither approved nor a node");
}

pub(super) async fn a_bounded_number_of_devices_waits(store: &dyn Store) {
    for number in [5, 1, 4, 2, 3] {
        written(store, seen(number, i64::from(number))).await;
    }
    assert_eq!(waiting(store).await, [3, 4, 5], "those that were seen last");
}

pub(super) async fn strangers_push_no_device_off_the_list(store: &dyn Store) {
    written(store, seen_from("198.51.100.7", 1, 1)).await;
    for number in 2..30 {
        written(store, seen(number, i64::from(number))).await;
    }
    assert_eq!(waiting(store).await, [1, 28, 29], "a network takes the places of its own");
    written(store, seen_from("203.0.113.9", 40, 40)).await;
    assert_eq!(waiting(store).await, [1, 29, 40]);
}

pub(super) async fn a_withdrawn_approval_is_shown(store: &dyn Store) {
    let approved =
        |by: Option<&str>, seconds| Write::ApproveDevice { key: KEY, by: by.map(str::to_owned), at: at(seconds) };
    let shown = async || store.device(&domain(), &KEY).await.unwrap().unwrap().revoked_at;
    written(store, approved(Some("uid:0"), 3)).await;
    written(store, claim(KEY, "/a")).await;
    assert_eq!(shown().await, UnixTime::default());
    written(store, approved(None, 6)).await;
    assert_eq!(shown().await, at(6));
    written(store, seen(7, 8)).await;
    assert_eq!(shown().await, at(6), "it asks again");
    written(store, approved(Some("uid:0"), 9)).await;
    assert_eq!(shown().await, UnixTime::default());
    // An authority vouches for it by now.
    written(store, approved(None, 10)).await;
    written(store, claim(KEY, "/a")).await;
    assert_eq!(shown().await, UnixTime::default());
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
        earlier: 0,
    };
    for number in [2, 1, 3, 4] {
        written(store, Write::PutAlert { alert: alert(number), keep: 3, keep_of_agent: 9 }).await;
    }
    let listed = async |after: Option<&str>, limit| store.alerts(&domain(), after, limit).await.unwrap();
    assert_eq!(listed(None, 10).await, [alert(2), alert(3), alert(4)], "the newest are kept");
    assert_eq!(listed(None, 2).await, [alert(3), alert(4)]);
    assert_eq!(listed(Some("alr_2"), 1).await, [alert(3)]);
    assert!(listed(Some("alr_4"), 5).await.is_empty());
}

pub(super) async fn one_agent_fills_no_list_of_alerts(store: &dyn Store) {
    let alert = |agent: &str, number: i64, earlier| AlertRecord {
        id: format!("alr_{number:02}"),
        at: at(number),
        severity: AlertSeverity::Critical,
        kind: "attestation denied".to_owned(),
        agent: id(agent),
        reason: "PCR 4 changed".to_owned(),
        good_at: None,
        earlier,
    };
    let put = async |agent, number| {
        written(store, Write::PutAlert { alert: alert(agent, number, 0), keep: 9, keep_of_agent: 2 }).await;
    };
    put("/quiet", 1).await;
    for number in 2..30 {
        put("/noisy", number).await;
    }
    let expected = [alert("/quiet", 1, 0), alert("/noisy", 28, 26), alert("/noisy", 29, 0)];
    assert_eq!(store.alerts(&domain(), None, 50).await.unwrap(), expected);
}
