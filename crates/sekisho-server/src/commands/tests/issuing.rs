use std::sync::Arc;

use sekisho_events::Counter;
use sekisho_identity::{Entry, LeafFacts, leaf_facts};
use sekisho_types::EntryId;

use super::super::asked::AskedNode;
use super::{says, words};
use crate::caller::AgentCaller;
use crate::commands::{BanAgent, CreateEntries, DeleteEntry, IssueJwt, IssueX509, OwnSvid, X509Request};
use crate::executor::{Call, execute_own};
use crate::final_check::{FinalCheck, Issued};
use crate::issue::IssueError;
use crate::issue_x509::IssuedX509;
use crate::refusal::{self, Refusal, RefusedParty};
use crate::testbed::{Testbed, csr, entry, measured};
use crate::withheld::Withheld;

/// An agent with the entry `ent_1`.
async fn with_entry(bed: &Testbed) -> LeafFacts {
    let shown = bed.joined("host-a").await;
    let entries = vec![entry("ent_1", "/shop", &shown.spiffe_id)];
    let created = bed.operator().await.execute_all(CreateEntries { entries }).await;
    assert!(created.is_ok_and(|created| created.iter().all(Result::is_ok)));
    shown
}

fn ent(id: &str) -> EntryId {
    EntryId::parse(id).unwrap()
}

/// The SVID of this entry for a process that was measured just now.
async fn x509(call: &Call<AgentCaller>, entry: &str) -> Result<(IssuedX509, Arc<Entry>), IssueError> {
    let items = vec![Ok(X509Request { entry: ent(entry), csr: csr(), process: measured(), key: None })];
    let mut answers = call.execute_all(IssueX509 { items }).await.map_err(Refusal::into_error)?;
    answers.remove(0).map_err(Refusal::into_error)
}

#[tokio::test]
async fn law_l5_identities_have_their_leaf_and_refusals_theirs() {
    let bed = Testbed::new().await;
    let shown = with_entry(&bed).await;
    let before = bed.recorded().await.len();
    let call = bed.agent(&shown).await;
    let (issued, by) = x509(&call, "ent_1").await.unwrap();
    assert_eq!((issued.spiffe_id.path(), by.id.as_str()), ("/shop", "ent_1"));
    let jwt = IssueJwt { entry: ent("ent_1"), audience: vec!["ledger".into()], process: None };
    let (jwt, _) = call.execute(jwt).await.map_err(Refusal::into_error).unwrap();
    assert!(jwt.log_index > issued.log_index);
    let own = execute_own(&bed.domain, OwnSvid { public_key: vec![1] }).await;
    assert!(own.is_err(), "what is no key gets no SVID");
    // An unknown entry, missing selectors, no audience, and bytes that are not a request.
    let lacking = sekisho_evidence::process_evidence(
        "unix/1",
        sekisho_runtime::now(),
        [sekisho_types::Selector::parse("unix:uid:8").unwrap()].into(),
    );
    let items = vec![
        Ok(X509Request { entry: ent("ent_2"), csr: csr(), process: measured(), key: None }),
        Ok(X509Request { entry: ent("ent_1"), csr: csr(), process: Some(lacking.unwrap()), key: None }),
        Ok(X509Request { entry: ent("ent_1"), csr: vec![0x30], process: measured(), key: None }),
    ];
    let answers = call.execute_all(IssueX509 { items }).await.map_err(Refusal::into_error).unwrap();
    assert!(answers.len() == 3 && answers.iter().all(Result::is_err));
    let nobody = IssueJwt { entry: ent("ent_1"), audience: vec![], process: None };
    assert!(call.execute(nobody).await.is_err());
    let refusals = bed.refusals().await;
    let agents = refusals.iter().filter(|refused| says(refused).0 == shown.spiffe_id.to_string());
    assert_eq!(agents.count(), 4, "{refusals:?}");
    assert!(refusals.iter().any(|refused| says(refused).1.contains("lacks a selector")), "{refusals:?}");
    let recorded = words(&bed, before).await;
    assert_eq!(recorded[..2], ["an X.509-SVID was issued", "a JWT-SVID was issued"]);
    let value = |counter| bed.domain.watch.counters.value(counter);
    assert_eq!((value(Counter::JwtSvidsIssued), value(Counter::Refusals)), (1, refusals.len() as u64));
}

#[tokio::test]
async fn law_l5_identities_of_one_call_are_appended_together() {
    let bed = Testbed::new().await;
    let shown = with_entry(&bed).await;
    let before = bed.recorded().await.len();
    let call = bed.agent(&shown).await;
    let item = |entry: &str| X509Request { entry: ent(entry), csr: csr(), process: measured(), key: None };
    let unread = Err(IssueError::Malformed("no id".into()));
    let items = vec![Ok(item("ent_1")), unread, Ok(item("ent_1")), Ok(item("ent_none")), Ok(item("ent_1"))];
    let answers = call.execute_all(IssueX509 { items }).await.map_err(Refusal::into_error).unwrap();
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(Refusal::into_error)).collect();
    let indexes: Vec<u64> = answers.iter().flatten().map(|(issued, _)| issued.log_index).collect();
    assert_eq!(indexes, [indexes[0], indexes[0] + 1, indexes[0] + 2]);
    assert!(matches!(&answers[1], Err(IssueError::Malformed(_))) && matches!(&answers[3], Err(IssueError::NoEntry(_))));
    for (issued, _) in answers.iter().flatten() {
        let facts = leaf_facts(&issued.identity.der).unwrap();
        assert_eq!((facts.serial, facts.spiffe_id.path()), (issued.identity.serial.clone(), "/shop"));
    }
    let recorded = words(&bed, before).await;
    assert_eq!(recorded[..3], ["an X.509-SVID was issued"; 3]);
    assert_eq!(recorded.len(), 5, "{recorded:?}");
}

#[tokio::test]
async fn law_l6_a_withheld_svid_is_withdrawn_on_record() {
    let bed = Testbed::new().await;
    let shown = with_entry(&bed).await;
    let call = bed.agent(&shown).await;
    let (issued, by) = x509(&call, "ent_1").await.unwrap();
    bed.operator().await.execute(DeleteEntry { id: ent("ent_1") }).await.unwrap();
    let identity = Issued { log_id: issued.log_id, entry: Some(by), judged_at: issued.judged_at };
    let final_check = FinalCheck::new(shown.spiffe_id.clone(), shown.serial.clone(), vec![identity]);
    let cause = final_check.judge(&bed.domain.view, &bed.domain.identity.server_id).unwrap_err();
    let withheld = Withheld::of(&final_check, cause);
    let refusal = refusal::record(&bed.domain, RefusedParty::Agent(final_check.agent()), withheld).await;
    assert!(refusal.into_error().to_string().contains("an entry changed"));
    // The call began before; its entry is gone.
    let gone = x509(&call, "ent_1").await.map(drop);
    assert!(matches!(gone, Err(IssueError::NoEntry(_))), "{gone:?}");
    let refusals: Vec<_> = bed.refusals().await.iter().map(says).collect();
    assert_eq!(refusals.iter().map(|(.., withdrawn)| *withdrawn).collect::<Vec<_>>(), [1, 0], "{refusals:?}");
    assert_eq!(bed.domain.watch.counters.value(Counter::Withdrawals), 1);
}

#[tokio::test]
async fn law_l6_a_ban_withdraws_an_issuance_under_way() {
    let bed = Testbed::new().await;
    let shown = with_entry(&bed).await;
    let call = bed.agent(&shown).await;
    // As it stood when the call asked; the ban comes before the gate looks again.
    let requester = call.caller.requester(&bed.domain);
    bed.operator().await.execute(BanAgent { id: shown.spiffe_id.clone() }).await.unwrap();
    let evidence = call.caller.evidence().unwrap().clone();
    let csr = sekisho_identity::Csr::verify(&csr()).unwrap();
    let issued =
        crate::issue::issue(&bed.domain, requester, crate::issue_x509::X509, AskedNode { csr, evidence }).await;
    let error = issued.err().unwrap();
    assert!(matches!(error, IssueError::Withdrawn { .. }), "{error}");
    let _refusal = call.refuse(error).await;
    let [refused] = bed.refusals().await.try_into().unwrap();
    let (caller, reason, withdrawn) = says(&refused);
    assert!(caller == shown.spiffe_id.to_string() && reason.contains("banned") && withdrawn == 1, "{caller}: {reason}");
}

#[tokio::test]
async fn law_l9_refusals_beyond_an_agents_budget_are_counted() {
    let bed = Testbed::new().await;
    let shown = with_entry(&bed).await;
    let call = bed.agent(&shown).await;
    for _ in 0..300 {
        let nobody = IssueJwt { entry: ent("ent_none"), audience: vec!["a".into()], process: None };
        assert!(call.execute(nobody).await.is_err());
    }
    let leaves = bed.refusals().await.len() as u64;
    crate::refusals::log_count(&bed.domain).await;
    assert!((100..300).contains(&leaves), "{leaves}");
    assert_eq!(bed.domain.watch.counters.value(Counter::Refusals), 300, "each is a leaf or in a count that is one");
}
