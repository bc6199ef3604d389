use futures_util::FutureExt;
use sekisho_events::Event;
use sekisho_identity::{Entry, Revoked};
use sekisho_policy::Source;
use sekisho_runtime::now;
use sekisho_store::{Batch, Item, Write};
use sekisho_types::{EntryId, SpiffeId};

use super::words;
use crate::command::Command;
use crate::commands::{
    ApplyError, ApplyPolicy, BanAgent, CreateEntries, CreateToken, DeleteEntry, EvictAgent, Revoke, RevokeToken,
    UpdateEntry,
};
use crate::denied::Denied;
use crate::queries::Plan;
use crate::refusal::Refusal;
use crate::registration::RegistrationError;
use crate::testbed::{ADMIN, Testbed, entry};

fn parent() -> SpiffeId {
    SpiffeId::parse("spiffe://example.org/spire/agent/join_token/host-a").unwrap()
}

#[tokio::test]
async fn entries_change_only_with_their_leaves() {
    let bed = Testbed::new().await;
    let operator = bed.operator().await;
    let before = bed.recorded().await.len();
    let same = || entry("ent_2", "/shop", &parent());
    let entries = vec![entry("ent_1", "/shop", &parent()), same(), entry("ent_1", "/till", &parent())];
    let created = operator.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
    let created: Vec<_> = created.into_iter().map(|one| one.map_err(Refusal::into_error)).collect();
    // One that conflicts keeps no other out.
    let [Ok(first), Err(RegistrationError::Exists(existing)), Err(RegistrationError::IdTaken(_))] = &created[..] else {
        panic!("{created:?}")
    };
    assert_eq!(existing.id, first.id);
    let id = EntryId::parse("ent_1").unwrap();
    let change = |old: &Entry| Ok(Entry { hint: "main".into(), ..old.clone() });
    let updated = operator.execute(UpdateEntry { id: id.clone(), change }).await.map_err(Refusal::into_error).unwrap();
    assert_eq!((updated.revision_number, updated.hint.as_str()), (1, "main"));
    let stale = |_: &Entry| Err(RegistrationError::ChangedMeanwhile(EntryId::parse("ent_1").unwrap()));
    assert!(operator.execute(UpdateEntry { id: id.clone(), change: stale }).await.is_err());
    operator.execute(DeleteEntry { id: id.clone() }).await.unwrap();
    let gone = operator.execute(DeleteEntry { id }).await.map_err(Refusal::into_error);
    assert!(matches!(gone, Err(RegistrationError::NoEntry(_))));
    assert_eq!(
        words(&bed, before).await,
        ["an entry was created", "an entry was changed", "an entry was deleted"],
        "what is refused on the local socket concerns no peer"
    );
}

/// Its leaf would wait in the outbox without end, and all others behind it.
#[tokio::test]
async fn a_change_too_long_to_record_is_refused() {
    let bed = Testbed::new().await;
    let operator = bed.operator().await;
    let before = bed.recorded().await.len();
    let with = |id: &str, others: usize| {
        let name = |number: usize| sekisho_types::TrustDomain::parse(&format!("{number:0200}")).unwrap();
        Entry { federates_with: (0..others).map(name).collect(), ..entry(id, &format!("/{id}"), &parent()) }
    };
    let create = async |entries| {
        let created = operator.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
        created.into_iter().map(|one| one.map_err(Refusal::into_error)).collect::<Vec<_>>()
    };
    let created = create(vec![with("ent_1", 22_000), with("ent_2", 18_000)]).await;
    let [Err(RegistrationError::Form(said)), Ok(_)] = &created[..] else { panic!("{created:?}") };
    assert!(said.contains("the log takes 4 MiB of one change"), "{said}");
    assert_eq!(words(&bed, before).await, ["an entry was created"]);
}

#[tokio::test]
async fn tokens_agents_and_policies_change_with_their_leaves() {
    let bed = Testbed::new().await;
    let operator = bed.operator().await;
    let before = bed.recorded().await.len();
    let token = || CreateToken { agent: Some("host-a".into()), token: None, ttl_seconds: 60 };
    let made = operator.execute(token()).await.map_err(Refusal::into_error).unwrap();
    operator.execute(RevokeToken { id: made.id.clone() }).await.unwrap();
    let again = operator.execute(RevokeToken { id: made.id }).await.map_err(Refusal::into_error);
    assert!(matches!(again, Err(RegistrationError::NoToken(_))));
    assert!(operator.execute(CreateToken { ttl_seconds: 0, ..token() }).await.is_err());
    let unknown = operator.execute(EvictAgent { id: parent() }).await.map_err(Refusal::into_error);
    assert!(matches!(unknown, Err(RegistrationError::NoAgent(_))));
    bed.joined("host-a").await;
    operator.execute(BanAgent { id: parent() }).await.unwrap();
    let banned = operator.execute(token()).await.map(drop).map_err(Refusal::into_error);
    assert!(matches!(banned, Err(RegistrationError::AgentBanned(_))));
    operator.execute(EvictAgent { id: parent() }).await.unwrap();
    let text = "package workload.authz\n\ndefault allow := false\n".to_owned();
    let sources = || vec![Source { name: "a.rego".into(), text: text.clone() }];
    let revision = operator.execute(ApplyPolicy { sources: sources() }).await.map_err(Refusal::into_error).unwrap();
    let same = operator.execute(ApplyPolicy { sources: sources() }).await.map_err(Refusal::into_error).unwrap();
    assert_eq!(revision, same, "the same content again keeps its revision");
    let broken = vec![Source { name: "b.rego".into(), text: "package".into() }];
    assert!(operator.execute(ApplyPolicy { sources: broken }).await.is_err());
    let recorded = bed.recorded().await;
    let of = |wanted: fn(&Event) -> bool| recorded.iter().skip(before).filter(|event| wanted(event)).count();
    assert_eq!(of(|event| matches!(event, Event::TokenCreated(_))), 2);
    assert_eq!(of(|event| matches!(event, Event::TokenRevoked(_))), 1);
    assert_eq!(of(|event| matches!(event, Event::AgentBanned(_) | Event::AgentEvicted(_))), 2);
    assert_eq!(of(|event| matches!(event, Event::PolicyApplied(_))), 1);
}

fn policy() -> ApplyPolicy {
    let text = "package workload.authz\n\ndefault allow := false\n".to_owned();
    ApplyPolicy { sources: vec![Source { name: "a.rego".into(), text }] }
}

#[tokio::test]
async fn law_l6_a_former_operator_writes_nothing() {
    let bed = Testbed::new().await;
    let host = bed.joined("host-a").await;
    let admin = bed.remote_operator(&bed.admin(&host).await).await;
    let local = bed.operator().await;
    let entries = vec![entry("ent_1", "/shop", &host.spiffe_id)];
    local.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
    let token = || CreateToken { agent: None, token: None, ttl_seconds: 60 };
    let made = admin.execute(token()).await.map_err(Refusal::into_error).unwrap();
    local.execute(BanAgent { id: host.spiffe_id.clone() }).await.unwrap();
    let (before, id) = (bed.recorded().await.len(), EntryId::parse("ent_1").unwrap());
    async fn refused<K: Command<Error = RegistrationError>>(
        call: &crate::executor::Call<K::Caller>,
        command: K,
    ) -> bool {
        let done = call.execute(command).await.map(drop).map_err(Refusal::into_error);
        matches!(done, Err(RegistrationError::Denied(Denied::NoOperator)))
    }
    let plan = Plan {
        what: Revoked::SpiffeId(host.spiffe_id.clone()),
        until: now(),
        cuts: vec![],
        then: "",
        evicts: None,
        known: true,
    };
    let change = |old: &Entry| Ok(Entry { hint: "late".into(), ..old.clone() });
    assert!(refused(&admin, CreateEntries { entries: vec![entry("ent_2", "/late", &host.spiffe_id)] }).await);
    assert!(refused(&admin, UpdateEntry { id: id.clone(), change }).await);
    assert!(refused(&admin, DeleteEntry { id }).await);
    assert!(refused(&admin, token()).await);
    assert!(refused(&admin, RevokeToken { id: made.id }).await);
    assert!(refused(&admin, BanAgent { id: host.spiffe_id.clone() }).await);
    assert!(refused(&admin, EvictAgent { id: host.spiffe_id.clone() }).await);
    assert!(refused(&admin, Revoke { plan, reason: String::new() }).await);
    // Its tests have run by then.
    let applied = admin.execute(policy()).await.map_err(Refusal::into_error);
    assert!(matches!(applied, Err(ApplyError::Denied(Denied::NoOperator))), "{applied:?}");
    assert_eq!((bed.recorded().await.len() - before, bed.refusals().await.len()), (9, 9));
}

/// What the change of an entry commits after its operator was judged, and before it is written.
async fn changed_amid(amid: impl Fn(&Testbed) -> Item + Sync) -> (Result<i64, RegistrationError>, usize) {
    let bed = Testbed::new().await;
    let host = bed.joined("host-a").await;
    let admin = bed.remote_operator(&bed.admin(&host).await).await;
    let entries = vec![entry("ent_1", "/shop", &host.spiffe_id)];
    bed.operator().await.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
    let done = std::sync::Once::new();
    let change = |old: &Entry| {
        done.call_once(|| {
            let batch = Batch::of(&bed.domain.identity.name, amid(&bed));
            bed.domain.store.commit(batch).now_or_never().unwrap().unwrap().only().unwrap();
        });
        Ok(Entry { hint: "late".into(), ..old.clone() })
    };
    let updated = admin.execute(UpdateEntry { id: EntryId::parse("ent_1").unwrap(), change }).await;
    let updated = updated.map(|entry| entry.revision_number).map_err(Refusal::into_error);
    let refusals = bed.refusals().await.len();
    let hint = bed.domain.view.read(|state| state.entries[&EntryId::parse("ent_1").unwrap()].hint.clone());
    assert_eq!(hint == "late", updated.is_ok());
    (updated, refusals)
}

#[tokio::test]
async fn law_l6_a_lost_right_keeps_the_write_out() {
    let revoked = |what: Revoked| {
        Item::from(Write::Revoke { what, reason: String::new(), at: now(), until: now().plus_seconds(900) })
    };
    let admin = || EntryId::parse(ADMIN).unwrap();
    let ban = changed_amid(|_| revoked(Revoked::Agent(parent()))).await;
    let serial = changed_amid(|_| revoked(Revoked::Serial("ad01".into()))).await;
    let deleted = changed_amid(|_| Item::from(Write::RemoveEntry(admin()))).await;
    for ended in [ban, serial, deleted] {
        assert!(matches!(ended, (Err(RegistrationError::Denied(Denied::NoOperator)), 1)), "{ended:?}");
    }
    // One that is still an operator is not held up.
    let renamed = changed_amid(|bed| {
        let old = bed.domain.view.read(|state| state.entries[&admin()].clone());
        let hint = "renamed".into();
        Item::from(Write::PutEntry(Entry { hint, revision_number: 1, ..(*old).clone() }.into()))
    });
    assert!(matches!(renamed.await, (Ok(1), 0)));
    let other = changed_amid(|_| revoked(Revoked::Serial("02".into()))).await;
    assert!(matches!(other, (Ok(1), 0)));
}
