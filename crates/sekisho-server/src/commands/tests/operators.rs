use sekisho_events::Event;
use sekisho_identity::Entry;
use sekisho_policy::Source;
use sekisho_types::{EntryId, SpiffeId};

use super::words;
use crate::commands::{ApplyPolicy, CreateEntries, CreateToken, DeleteEntry, RevokeToken, UpdateEntry};
use crate::commands::{BanAgent, EvictAgent};
use crate::refusal::Refusal;
use crate::registration::RegistrationError;
use crate::testbed::{Testbed, entry};

fn parent() -> SpiffeId {
    SpiffeId::parse("spiffe://example.org/spire/agent/join_token/host-a").unwrap()
}

#[tokio::test]
async fn entries_change_with_their_leaves_or_not_at_all() {
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
