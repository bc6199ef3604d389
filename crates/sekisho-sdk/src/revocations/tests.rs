use std::sync::Mutex;

use sekisho_identity::{Revocation, Revoked};
use sekisho_proto::revocation_to_wire;
use sekisho_types::{Claims, Revision, SpiffeId};

use super::*;

fn clock() -> UnixTime {
    UnixTime::from_seconds(1_800_000_000)
}

fn leaf(path: &str) -> LeafFacts {
    LeafFacts {
        spiffe_id: SpiffeId::parse(&format!("spiffe://td.example/{path}")).unwrap(),
        not_before: clock().plus_seconds(-60),
        not_after: clock().plus_seconds(840),
        serial: "01".into(),
        claims: Claims::default(),
        issuance: None,
        public_key: vec![],
    }
}

/// All SVIDs of a SPIFFE ID, for so many seconds.
fn revocation(path: &str, seconds: i64) -> Revocation {
    Revocation {
        what: Revoked::SpiffeId(leaf(path).spiffe_id),
        revision: Revision(7),
        at: clock(),
        until: clock().plus_seconds(seconds),
        reason: "key leaked".into(),
    }
}

fn message(revocations: &[Revocation], more: bool) -> WatchRevocationsResponse {
    WatchRevocationsResponse { revocations: revocations.iter().map(revocation_to_wire).collect(), more }
}

/// A keeper, and how many revocations it kept each time.
fn keeper(kept: &[Revocation]) -> (Arc<RevocationKeeper>, Arc<Mutex<Vec<usize>>>) {
    let mut known = Revocations::default();
    assert!(kept.iter().all(|revocation| known.add(revocation.clone())));
    let written = Arc::<Mutex<Vec<usize>>>::default();
    let to = written.clone();
    let keep = move |all: &Revocations| to.lock().unwrap().push(all.len());
    (Arc::new(RevocationKeeper::new(known, clock, keep)), written)
}

#[test]
fn law_l3_peers_are_refused_until_revocations_are_known() {
    let (keeper, _) = keeper(&[]);
    assert!(keeper.find(&leaf("till")).unwrap().contains("not known yet"));
    keeper.take(&message(&[], true));
    assert!(keeper.find(&leaf("till")).is_some(), "more belongs to this message");
    keeper.take(&message(&[], false));
    assert_eq!(keeper.find(&leaf("till")), None);
}

#[test]
fn a_revocation_is_enforced_and_kept_once() {
    let (keeper, written) = keeper(&[]);
    keeper.take(&message(&[revocation("till", 900)], false));
    assert!(keeper.find(&leaf("till")).unwrap().contains("key leaked"));
    assert_eq!((keeper.find(&leaf("shop")), keeper.newest()), (None, 7));
    keeper.take(&message(&[revocation("till", 900)], false));
    assert_eq!(*written.lock().unwrap(), [1], "what is known already is not written again");
}

#[test]
fn law_l14_revocations_of_an_earlier_run_stay_in_force() {
    let (keeper, written) = keeper(&[revocation("till", 900), revocation("old", -2 * 3600)]);
    keeper.take(&message(&[revocation("shop", 900)], false));
    assert!(keeper.find(&leaf("till")).is_some() && keeper.find(&leaf("shop")).is_some());
    assert_eq!(*written.lock().unwrap(), [2], "one that concerns no SVID any more is forgotten");
}

#[test]
fn unknown_revocations_leave_the_others_in_force() {
    let (keeper, _) = keeper(&[]);
    let mut both = message(&[revocation("till", 900)], false);
    both.revocations.insert(0, sekisho_proto::server::Revocation::default());
    keeper.take(&both);
    assert!(keeper.find(&leaf("till")).is_some());
}

#[tokio::test]
async fn law_l12_an_open_connection_hears_of_a_revocation() {
    let (keeper, _) = keeper(&[]);
    keeper.take(&message(&[], false));
    let (waits, peer) = (keeper.clone(), leaf("till"));
    let waiting = tokio::spawn(async move { waits.revoked(&peer).await });
    tokio::task::yield_now().await;
    keeper.take(&message(&[revocation("shop", 900)], false));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "another peer was revoked");
    keeper.take(&message(&[revocation("till", 900)], false));
    assert!(waiting.await.unwrap().contains("key leaked"));
}

#[tokio::test]
async fn law_l12_a_refusal_by_the_agent_ends_connections() {
    let (keeper, _) = keeper(&[]);
    keeper.take(&message(&[], false));
    let (waits, peer) = (keeper.clone(), leaf("till"));
    let waiting = tokio::spawn(async move { waits.revoked(&peer).await });
    tokio::task::yield_now().await;
    keeper.refused();
    assert!(waiting.await.unwrap().contains("not known"));
    keeper.take(&message(&[], false));
    assert_eq!(keeper.find(&leaf("till")), None, "the agent sends them again");
}

#[tokio::test]
async fn a_connection_waits_until_all_revocations_are_known() {
    let (keeper, _) = keeper(&[]);
    let waits = keeper.clone();
    let waiting = tokio::spawn(async move { waits.complete().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    keeper.take(&message(&[], false));
    waiting.await.unwrap();
    assert!(keeper.find(&leaf("till")).is_none());
}
