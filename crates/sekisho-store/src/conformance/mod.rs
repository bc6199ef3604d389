//! What every store does alike. Each case runs against all of them.

mod changes;
mod devices;
mod entries;
mod nodes;
mod others;
mod random;
mod samples;

use crate::{MemoryStore, SqliteStore, Store};

/// One test for each case and store.
macro_rules! on_each_store {
    ($($module:ident::$case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                super::$module::$case(&super::SqliteStore::open(&folder.path().join("state.db")).unwrap()).await;
            })*
        }
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(&super::MemoryStore::default()).await;
            })*
        }
    };
}

on_each_store!(
    entries::a_batch_has_one_revision_and_no_gap_follows,
    entries::one_that_conflicts_keeps_no_other_out,
    entries::a_registration_exists_once,
    entries::a_stale_update_conflicts_and_changes_nothing,
    entries::an_id_used_again_is_another_entry,
    entries::children_are_those_that_the_writer_saw,
    nodes::a_renewal_and_a_version_take_no_revision,
    nodes::a_shown_state_takes_no_revision,
    nodes::a_stale_node_conflicts,
    nodes::an_evicted_node_takes_its_spools_along,
    devices::cve_2025_13609_a_device_is_one_node,
    devices::a_device_keeps_what_was_known_of_its_node,
    devices::cve_2025_13609_of_two_claims_one_wins,
    devices::an_approved_device_stays_on_the_list,
    devices::a_bounded_number_of_devices_waits,
    devices::strangers_push_no_device_off_the_list,
    devices::a_withdrawn_approval_is_shown,
    devices::alerts_are_listed_from_one_on,
    devices::one_agent_fills_no_list_of_alerts,
    others::an_expired_token_is_not_spent,
    others::a_token_exists_once,
    others::a_policy_has_the_revision_after_the_newest,
    others::policies_are_kept_up_to_a_number,
    others::a_later_revocation_ends_no_earlier,
    others::marks_and_former_parents_are_remembered,
    others::a_spool_goes_on_from_where_it_was_read,
    others::authorities_name_their_server,
    others::a_leaf_waits_with_its_change_or_not_at_all,
    others::leaves_that_the_log_holds_are_settled_and_numbers_are_never_used_twice,
    changes::observers_hear_before_the_caller_goes_on,
    changes::history_names_what_changed_and_its_parents,
    changes::history_of_a_time_that_is_unknown_is_too_old,
    changes::the_past_is_bounded_and_names_its_epochs,
    changes::trust_domains_do_not_mix,
);

/// Of each kind, and the folder of those that have files.
fn one_of_each() -> (tempfile::TempDir, [Box<dyn Store>; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("state.db")).unwrap();
    (folder, [Box::new(sqlite), Box::<MemoryStore>::default()])
}

#[tokio::test]
async fn law_l6_a_write_needs_a_current_standing() {
    let (_folder, stores) = one_of_each();
    for store in &stores {
        nodes::a_write_needs_a_current_standing(store.as_ref()).await;
    }
}

#[tokio::test]
async fn law_l6_an_operator_writes_while_it_is_one() {
    let (_folder, stores) = one_of_each();
    for store in &stores {
        others::an_operator_writes_while_it_is_one(store.as_ref()).await;
    }
}

#[tokio::test]
async fn law_l4_a_token_is_spent_once() {
    let (_folder, stores) = one_of_each();
    for store in &stores {
        others::a_token_is_spent_once(store.as_ref()).await;
    }
}

#[tokio::test]
async fn law_l6_what_was_revoked_since_holds_beyond_the_jump() {
    let (_folder, stores) = one_of_each();
    for store in &stores {
        others::what_was_revoked_since_holds_beyond_the_jump(store.as_ref()).await;
    }
}

/// Both answer alike, whatever is asked in whatever order.
#[tokio::test]
async fn both_stores_do_the_same_for_random_batches() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("state.db")).unwrap();
    let memory = MemoryStore::default();
    random::compare(&sqlite, &memory).await;
}

#[test]
fn the_store_in_memory_answers_at_once() {
    let store = MemoryStore::default();
    let td = samples::domain();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut commit = store.commit(crate::Batch::of(&td, samples::creation("a", "/node", "/a")));
    assert!(commit.as_mut().poll(&mut context).is_ready());
    assert!(store.snapshot(&td).as_mut().poll(&mut context).is_ready());
}

#[tokio::test]
async fn each_server_drains_its_own_leaves() {
    use crate::{ServerId, Write};
    let (one, td) = (MemoryStore::default(), samples::domain());
    let two = one.shared_with(ServerId::new("two"));
    samples::written(&one, samples::recorded("a")).await;
    samples::written(&two, samples::recorded("b")).await;
    let leaves = two.outbox(&td, 9).await.unwrap();
    assert_eq!((leaves.len(), one.outbox_length(&td).await.unwrap()), (1, 1));
    samples::written(&two, Write::Drained(leaves[0].sequence)).await;
    assert_eq!((two.outbox_length(&td).await.unwrap(), one.outbox_length(&td).await.unwrap()), (0, 1));
}

#[tokio::test]
async fn history_is_known_after_a_restart() {
    use crate::History;
    let folder = tempfile::tempdir().unwrap();
    let (path, td) = (folder.path().join("state.db"), samples::domain());
    let store = SqliteStore::open(&path).unwrap();
    let before = samples::written(&store, samples::creation("a", "/node", "/a")).await.unwrap();
    samples::written(&store, samples::creation("b", "/node", "/b")).await;
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    let History::Known(changed) = store.history(&td, before).await.unwrap() else { panic!("too old") };
    assert_eq!(changed.len(), 1);
}

/// The table is as long as it may be, and those who come back later than that are sent everything.
#[tokio::test]
async fn history_is_bounded() {
    use crate::rows::Rows;
    use crate::{ChangedId, History};
    use sekisho_types::Revision;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, td) = (SqliteStore::open(&path).unwrap(), samples::domain());
    for id in ["a", "b", "c", "d"] {
        samples::written(&store, samples::creation(id, "/node", &format!("/{id}"))).await;
    }
    store.trim(&td, 2);
    assert_eq!(store.history(&td, Revision(1)).await.unwrap(), History::TooOld);
    let History::Known(changed) = store.history(&td, Revision(2)).await.unwrap() else { panic!("too old") };
    assert!(matches!(&changed[0].what, ChangedId::Entry { id, .. } if id.as_str() == "c"));
    let mut tables = crate::memory::Tables::default();
    let mut rows = crate::memory::MemoryRows { tables: &mut tables, server: store.server() };
    for revision in 1..=4 {
        rows.put_changed(Revision(revision), &ChangedId::Node(samples::id("/n"))).unwrap();
    }
    rows.trim_changed(2).unwrap();
    assert_eq!((rows.tables.changes_from, rows.tables.changed.len()), (Revision(2), 2));
}
