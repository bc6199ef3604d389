use std::sync::Arc;

use sekisho_identity::{Node, Standing};
use sekisho_types::Revision;

use super::samples::{at, commit, domain, id, node, written};
use crate::{Conflict, Expect, Item, SpoolPosition, Store, Write};

async fn stored(store: &dyn Store) -> Vec<Arc<Node>> {
    store.snapshot(&domain()).await.unwrap().nodes
}

fn standing(serial: &str) -> Item {
    Item::default().expect(Expect::Standing { agent: id("/n"), serial: serial.into() })
}

fn renewal(serial: &str, previous: Option<&str>) -> Write {
    let previous_serial = previous.map(Into::into);
    Write::RenewNode { id: id("/n"), serial: serial.into(), previous_serial, expires_at: at(1800) }
}

pub(super) async fn a_renewal_and_a_version_take_no_revision(store: &dyn Store) {
    assert_eq!(written(store, Write::PutNode(Arc::new(node("/n", "1")))).await, Some(Revision(1)));
    assert_eq!(written(store, standing("1").write(renewal("2", Some("1")))).await, None);
    let version = Write::NodeVersion { id: id("/n"), version: "9.9".into() };
    assert_eq!(written(store, standing("2").write(version)).await, None);
    let expected =
        Node { previous_serial: Some("1".into()), expires_at: at(1800), version: "9.9".into(), ..node("/n", "2") };
    assert_eq!(stored(store).await, [Arc::new(expected)]);
    let history = store.history(&domain(), Revision(1)).await.unwrap();
    assert_eq!(history, crate::History::Known(vec![]), "no stream is sent a renewal");
    let nobody = Write::NodeVersion { id: id("/none"), version: "1".into() };
    assert_eq!((written(store, nobody).await, stored(store).await.len()), (None, 1));
}

pub(super) async fn a_shown_state_takes_no_revision(store: &dyn Store) {
    written(store, Write::PutNode(Arc::new(node("/n", "1")))).await;
    let shown = Node { attested_at: at(60), remembered: Some("{\"pcr\":1}".into()), ..node("/n", "1") };
    assert_eq!(written(store, Write::NodeState(Arc::new(shown.clone()))).await, None);
    assert_eq!(stored(store).await, [Arc::new(shown)]);
}

pub(super) async fn a_write_needs_a_current_standing(store: &dyn Store) {
    let refused = |standing| Err(Conflict::Standing { agent: id("/n"), standing });
    assert_eq!(commit(store, standing("1").write(renewal("2", None))).await, refused(Standing::Unknown));
    written(store, Write::PutNode(Arc::new(node("/n", "1")))).await;
    written(store, standing("1").write(renewal("2", Some("1")))).await;
    written(store, standing("1")).await;
    written(store, renewal("2", None)).await;
    assert_eq!(commit(store, standing("1").write(renewal("3", None))).await, refused(Standing::Superseded));
    written(store, Write::PutNode(Arc::new(Node { banned: true, ..node("/n", "2") }))).await;
    assert_eq!(commit(store, standing("2").write(renewal("4", None))).await, refused(Standing::Banned));
    assert_eq!(stored(store).await[0].serial, "2");
}

pub(super) async fn a_stale_node_conflicts(store: &dyn Store) {
    let (read, ban) = (Arc::new(node("/n", "1")), Arc::new(Node { banned: true, ..node("/n", "1") }));
    let expect = |is: Option<Arc<Node>>| Item::default().expect(Expect::Node { id: id("/n"), is });
    written(store, expect(None).write(Write::PutNode(read.clone()))).await;
    assert_eq!(commit(store, expect(None)).await, Err(Conflict::NodeChanged(id("/n"))));
    written(store, Write::NodeVersion { id: id("/n"), version: "2".into() }).await;
    let stale = commit(store, expect(Some(read)).write(Write::PutNode(ban))).await.unwrap_err();
    assert!(stale.is_stale() && !stored(store).await[0].banned);
}

pub(super) async fn an_evicted_node_takes_its_spools_along(store: &dyn Store) {
    let position = SpoolPosition { next: 5, log_index: 9, lost: 1 };
    for path in ["/n", "/n2", "/n/a"] {
        written(store, Write::PutNode(Arc::new(node(path, "1")))).await;
        written(store, Write::PutSpool { node: id(path), spool: "s 1".into(), position }).await;
    }
    written(store, Write::RemoveNode { id: id("/n"), at: at(9) }).await;
    let mut left = vec![];
    for path in ["/n", "/n2", "/n/a"] {
        left.push(store.spool(&domain(), &id(path), "s 1").await.unwrap());
    }
    assert_eq!(left, [None, Some(position), Some(position)]);
    assert_eq!(stored(store).await.len(), 2);
    assert_eq!(written(store, Write::RemoveNode { id: id("/n"), at: at(9) }).await, None);
}
