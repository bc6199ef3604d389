use std::sync::Arc;

use sekisho_events::{Leaf, LogContinued, PolicyApplied};
use sekisho_identity::{Entry, Revoked};
use sekisho_types::{Digest, Revision};

use super::samples::{at, commit, creation, domain, entry, id, leaf, recorded, written};
use crate::{
    AuthorityRecord, Batch, Conflict, EntryVersion, Expect, Item, LogMark, Marks, OutboxLeaf, PolicyRecord, ServerId,
    SpoolPosition, Store, TokenRecord, Write,
};

fn token(hash: &str) -> TokenRecord {
    TokenRecord { hash: hash.into(), agent_id: id("/agent"), expires_at: at(60) }
}

fn spend(hash: &str, seconds: i64) -> Item {
    let unused = Expect::Token { hash: hash.into(), at: at(seconds) };
    Item::default().expect(unused).write(Write::SpendToken(hash.into()))
}

pub(super) async fn a_token_is_spent_once(store: &dyn Store) {
    written(store, Write::PutToken(token("t"))).await;
    assert_eq!(store.token(&domain(), "t").await.unwrap(), Some(token("t")));
    // In one group, as two callers at the same time.
    let both = futures_of(store, [spend("t", 0), spend("t", 0)]).await;
    assert_eq!(both, [Ok(Some(Revision(1))), Err(Conflict::Token)]);
    assert_eq!(store.token(&domain(), "t").await.unwrap(), None);
}

async fn futures_of<const N: usize>(store: &dyn Store, items: [Item; N]) -> Vec<Result<Option<Revision>, Conflict>> {
    let submitted = items.map(|item| store.commit(Batch::of(&domain(), item)));
    let mut out = vec![];
    for one in submitted {
        out.push(one.await.unwrap().only());
    }
    out
}

pub(super) async fn an_expired_token_is_not_spent(store: &dyn Store) {
    written(store, Write::PutToken(token("t"))).await;
    assert_eq!(commit(store, spend("t", 60)).await, Err(Conflict::Token));
    assert_eq!(commit(store, spend("other", 0)).await, Err(Conflict::Token));
    written(store, Write::RemoveTokensBefore(at(60))).await;
    assert_eq!(store.tokens(&domain()).await.unwrap(), [token("t")]);
    written(store, Write::RemoveTokensBefore(at(61))).await;
    assert_eq!(store.tokens(&domain()).await.unwrap(), []);
}

pub(super) async fn a_token_exists_once(store: &dyn Store) {
    let put = |hash: &str| Item::default().expect(Expect::NoToken(hash.into())).write(Write::PutToken(token(hash)));
    written(store, put("b")).await;
    written(store, put("a")).await;
    assert_eq!(commit(store, put("b")).await, Err(Conflict::TokenExists));
    assert_eq!(store.tokens(&domain()).await.unwrap(), [token("a"), token("b")]);
    written(store, Write::RemoveToken("a".into())).await;
    assert_eq!(store.tokens(&domain()).await.unwrap(), [token("b")]);
    written(store, Write::RemoveAllTokens).await;
    assert_eq!(store.tokens(&domain()).await.unwrap(), []);
}

fn policy(number: u8) -> PolicyRecord {
    let files = vec![("p.rego".to_owned(), format!("package p{number}"))];
    PolicyRecord { revision: 0, digest: Digest::new([number; 32]), at: at(0), files }
}

pub(super) async fn a_policy_has_the_revision_after_the_newest(store: &dyn Store) {
    written(store, Item::default().record(leaf("first"))).await;
    let by = sekisho_events::Personal::new("x".to_owned(), [1; 32]);
    let applied = Leaf::new(domain(), at(0), PolicyApplied { by, digest: Digest::new([1; 32]), revision: 1 });
    let put = Item::from(Write::PutPolicy { policy: policy(1), keep: 9 }).expect(Expect::Policy(None));
    assert_eq!(written(store, put.clone().record(applied)).await, Some(Revision(2)));
    let stored = store.policy(&domain(), None).await.unwrap().unwrap();
    assert_eq!(stored, PolicyRecord { revision: 1, ..policy(1) });
    let leaves = store.outbox(&domain(), 9).await.unwrap();
    let text = String::from_utf8(leaves[1].leaf.clone()).unwrap();
    assert!(text.contains(r#""revision":1"#) && text.contains(r#""state_revision":2"#), "{text}");
    let stale = commit(store, put).await.unwrap_err();
    assert!(stale == Conflict::PolicyChanged && stale.is_stale());
}

pub(super) async fn policies_are_kept_up_to_a_number(store: &dyn Store) {
    for number in 1..=4 {
        written(store, Write::PutPolicy { policy: policy(number), keep: 2 }).await;
    }
    let of = async |revision| store.policy(&domain(), revision).await.unwrap().map(|policy| policy.revision);
    assert_eq!(
        (of(None).await, of(Some(3)).await, of(Some(2)).await, of(Some(9)).await),
        (Some(4), Some(3), None, None)
    );
    let snapshot = store.snapshot(&domain()).await.unwrap();
    assert_eq!(snapshot.policy.unwrap().digest, policy(4).digest);
}

fn revoke(path: &str, from: i64, until: i64) -> Write {
    Write::Revoke { what: Revoked::SpiffeId(id(path)), reason: "was deleted".into(), at: at(from), until: at(until) }
}

pub(super) async fn an_operator_writes_while_it_is_one(store: &dyn Store) {
    let admin = Arc::new(entry("adm", "/agent", "/admin"));
    let mut judged_at = written(store, Write::PutEntry(admin.clone())).await.unwrap();
    let revocable = [
        Revoked::SpiffeId(id("/admin")),
        Revoked::Agent(id("/agent")),
        Revoked::Serial("01".into()),
        Revoked::Entry { id: admin.id.clone(), spiffe_id: id("/admin") },
    ];
    let as_operator = |judged_at: Revision, item: Item| {
        let revocable = revocable.to_vec();
        item.expect_first(Some(Expect::Operator { entry: EntryVersion::of(&admin), revocable, judged_at }))
    };
    let refused = Err(Conflict::OperatorChanged);
    assert!(Conflict::OperatorChanged.is_stale());
    let what = |path: &str| Revoked::SpiffeId(id(path));
    for revoked in revocable.iter().cloned().chain([what("/other")]) {
        let is_its_own = revoked != what("/other");
        let write = Write::Revoke { what: revoked, reason: String::new(), at: at(0), until: at(9000) };
        let revoked_at = written(store, write).await.unwrap();
        // Before it learns that the id is taken.
        let late = commit(store, as_operator(judged_at, creation("adm", "/agent", "/late"))).await;
        assert_eq!(late == refused, is_its_own, "{late:?}");
        // It was judged by the state that has the revocation: that is not the store's question.
        judged_at = revoked_at;
        written(store, as_operator(judged_at, Item::default())).await;
    }
    let changed = Entry { revision_number: 1, ..(*admin).clone() };
    written(store, Write::PutEntry(Arc::new(changed))).await;
    assert_eq!(commit(store, as_operator(judged_at, creation("late", "/agent", "/late"))).await, refused);
    written(store, Write::RemoveEntry(admin.id.clone())).await;
    assert_eq!(commit(store, as_operator(judged_at, creation("late", "/agent", "/late"))).await, refused);
    assert!(store.snapshot(&domain()).await.unwrap().entries.is_empty());
}

pub(super) async fn a_later_revocation_ends_no_earlier(store: &dyn Store) {
    written(store, revoke("/a", 0, 9000)).await;
    written(store, revoke("/a", 1, 100)).await;
    let stored = store.snapshot(&domain()).await.unwrap().revocations;
    assert_eq!((stored.len(), stored[0].revision, stored[0].until), (1, Revision(2), at(9000)));
    // Those that nothing needs any more are deleted with the next.
    written(store, revoke("/b", 20_000, 30_000)).await;
    let stored = store.snapshot(&domain()).await.unwrap().revocations;
    assert_eq!((stored.len(), &stored[0].what), (1, &Revoked::SpiffeId(id("/b"))));
}

pub(super) async fn what_was_revoked_since_holds_beyond_the_jump(store: &dyn Store) {
    let before = written(store, revoke("/before", 0, 9000)).await.unwrap();
    written(store, revoke("/since", 0, 9000)).await;
    written(store, Write::PutPolicy { policy: policy(1), keep: 2 }).await;
    let jump = Write::JumpBeyond { floor: Revision(500), since: before };
    let jumped = written(store, Item::from(jump).record(leaf("ahead"))).await.unwrap();
    assert_eq!(jumped, Revision(500 + (1 << 32)));
    let snapshot = store.snapshot(&domain()).await.unwrap();
    let of = |path: &str| {
        let revocations = snapshot.revocations.iter();
        revocations.filter(|one| one.what == Revoked::SpiffeId(id(path))).map(|one| one.revision).next().unwrap()
    };
    assert_eq!((of("/before"), of("/since")), (before, jumped));
    assert_eq!(snapshot.policy.unwrap().revision, jumped.0);
    let leaf = store.outbox(&domain(), 1).await.unwrap().remove(0).leaf;
    assert!(String::from_utf8(leaf).unwrap().contains(&format!(r#""state_revision":{}"#, jumped.0)));
    assert_eq!(written(store, revoke("/next", 0, 9000)).await, Some(Revision(jumped.0 + 1)));
    assert_eq!(store.history(&domain(), before).await.unwrap(), crate::History::TooOld);
}

pub(super) async fn marks_and_former_parents_are_remembered(store: &dyn Store) {
    assert_eq!(store.marks(&domain()).await.unwrap(), Marks::default());
    let mark = LogMark { size: 7, root: vec![1; 32] };
    let item = Item::from(Write::MarkLog(mark.clone())).write(Write::MarkRetention(at(3)));
    assert_eq!(written(store, item).await, None);
    assert_eq!(store.marks(&domain()).await.unwrap(), Marks { log: Some(mark), retention: Some(at(3)), last_leaf: 0 });
    for (parent, seconds) in [("/q", 10), ("/p", 20), ("/p", 30)] {
        written(store, Write::PutFormerParent { id: id("/a"), parent: id(parent), until: at(seconds) }).await;
    }
    assert_eq!(store.former_parents(&domain(), &id("/a")).await.unwrap(), [(id("/p"), at(30)), (id("/q"), at(10))]);
    written(store, Write::RemoveFormerParentsBefore(at(11))).await;
    assert_eq!(store.former_parents(&domain(), &id("/a")).await.unwrap(), [(id("/p"), at(30))]);
}

pub(super) async fn a_spool_goes_on_from_where_it_was_read(store: &dyn Store) {
    let position = |next| SpoolPosition { next, log_index: next * 2, lost: 0 };
    let put = |is: Option<u64>, next| {
        let expect = Expect::Spool { node: id("/n"), spool: "s".into(), is: is.map(position) };
        Item::default().expect(expect).write(Write::PutSpool {
            node: id("/n"),
            spool: "s".into(),
            position: position(next),
        })
    };
    assert_eq!(written(store, put(None, 5)).await, None);
    let stale = commit(store, put(None, 6)).await.unwrap_err();
    assert!(stale == Conflict::SpoolMoved && stale.is_stale());
    written(store, put(Some(5), 9)).await;
    assert_eq!(store.spool(&domain(), &id("/n"), "s").await.unwrap(), Some(position(9)));
}

pub(super) async fn authorities_name_their_server(store: &dyn Store) {
    let authority = AuthorityRecord {
        id: "a1".into(),
        server: ServerId::new("whatever is written here"),
        slot: "active".into(),
        not_before: at(0),
        not_after: at(9),
        signed_until: at(9),
        certificate: vec![1, 2],
        serial: [3; 16],
        jwt_public_key: vec![4],
    };
    assert_eq!(written(store, Write::PutAuthority(Box::new(authority.clone()))).await, Some(Revision(1)));
    let stored = store.authorities(&domain()).await.unwrap();
    assert_eq!(stored, (Revision(1), vec![AuthorityRecord { server: store.server().clone(), ..authority }]));
    assert_eq!(written(store, Write::RemoveAuthority("a1".into())).await, Some(Revision(2)));
    assert_eq!(written(store, Write::RemoveAuthority("a1".into())).await, None);
}

pub(super) async fn a_leaf_waits_with_its_change_or_not_at_all(store: &dyn Store) {
    let heard = Arc::new(std::sync::Mutex::new(vec![]));
    let to = heard.clone();
    store.observe(Box::new(move |delta| to.lock().unwrap().push((delta.leaves, delta.changes.len()))));
    let change = Item::from(revoke("/a", 0, 9)).record(leaf("one")).record(leaf("two"));
    written(store, change).await;
    commit(store, spend("none", 0).record(leaf("never"))).await.unwrap_err();
    let leaves = store.outbox(&domain(), 9).await.unwrap();
    assert_eq!((leaves.len(), store.outbox_length(&domain()).await.unwrap()), (2, 2));
    assert_eq!(store.outbox(&domain(), 1).await.unwrap().len(), 1);
    assert!(!leaves[0].side.is_empty() && leaves[0].sequence < leaves[1].sequence);
    written(store, Write::Drained(leaves[0].sequence)).await;
    assert_eq!(store.outbox(&domain(), 9).await.unwrap(), leaves[1..]);
    store.wipe().await.unwrap();
    // A leaf that is too long keeps its change out, and no other.
    let endless = LogContinued {
        old_origin: String::new(),
        old_root: Digest::new([0; 32]),
        old_size: 0,
        reason: "x".repeat(1 << 20),
    };
    let long = Item::from(revoke("/long", 0, 9)).record(Leaf::new(domain(), at(0), endless));
    let committed = store.commit(Batch::new(&domain(), vec![long, revoke("/b", 0, 9).into()])).await.unwrap();
    assert!(matches!(committed.outcomes[..], [Err(Conflict::Leaf(_)), Ok(())]));
    let kept = store.snapshot(&domain()).await.unwrap().revocations;
    let has = |path: &str| kept.iter().any(|one| one.what == Revoked::SpiffeId(id(path)));
    assert!(has("/b") && !has("/long"));
    assert_eq!(heard.lock().unwrap()[..2], [(2, 1), (0, 0)]);
}

pub(super) async fn leaves_that_the_log_holds_are_settled_and_numbers_are_never_used_twice(store: &dyn Store) {
    for name in ["a", "b", "c"] {
        written(store, recorded(name)).await;
    }
    let texts = |leaves: &[OutboxLeaf]| leaves.iter().map(|row| row.leaf.clone()).collect::<Vec<_>>();
    let waiting = store.outbox(&domain(), 9).await.unwrap();
    let [a, b, c] = waiting.clone().try_into().unwrap();
    assert_eq!(store.marks(&domain()).await.unwrap().last_leaf, c.sequence);
    written(store, Write::SettleOutbox { held: vec![b.sequence], beyond: 1000 }).await;
    let left = store.outbox(&domain(), 9).await.unwrap();
    assert_eq!(texts(&left), [a.leaf, c.leaf], "in their order");
    assert!(left.iter().all(|row| row.sequence > 1000) && left[0].sequence < left[1].sequence);
    // Also when nothing waits, and never back.
    written(store, Write::Drained(left[1].sequence)).await;
    written(store, Write::SettleOutbox { held: vec![], beyond: 2000 }).await;
    written(store, Write::SettleOutbox { held: vec![], beyond: 5 }).await;
    written(store, recorded("d")).await;
    let next = store.outbox(&domain(), 9).await.unwrap();
    assert!(next.len() == 1 && next[0].sequence > 2000, "{next:?}");
    assert_eq!(store.marks(&domain()).await.unwrap().last_leaf, next[0].sequence);
    written(store, Write::Probe).await;
    assert_eq!(store.marks(&domain()).await.unwrap().retention, None);
}
