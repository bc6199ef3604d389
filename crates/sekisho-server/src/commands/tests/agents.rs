use std::time::Duration;

use sekisho_api::DrillKind;
use sekisho_events::{Counter, Event};
use sekisho_evidence::token_hash;
use sekisho_identity::Standing;
use sekisho_store::{AlertSeverity, Store as _, Write};
use sekisho_types::SpiffeId;

use super::{says, words};
use crate::commands::{
    AnsweringNode, AskState, Attest, AttestError, AttestingNode, BanAgent, EvictAgent, Opening, PostStatus, Renew,
    RenewError, RunDrill,
};
use crate::denied::Denied;
use crate::issue::IssueError;
use crate::refusal::Refusal;
use crate::roles::Role;
use crate::state_checks::{DrillOutcome, Question, StateOutcome};
use crate::testbed::{Joins, Testbed, csr, over_tls};
use crate::tokens::id_of;

const ID: &str = "spiffe://example.org/spire/agent/join_token/host-a";

#[tokio::test]
async fn law_l4_a_token_admits_one_node() {
    let bed = Testbed::new().await;
    let token = bed.token("host-a").await;
    let before = bed.recorded().await.len();
    let admitted = bed.attest(&token).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((admitted.issued.spiffe_id.to_string().as_str(), admitted.can_reattest), (ID, false));
    let recorded = words(&bed, before).await;
    for event in ["a node proved what it is", "an X.509-SVID was issued"] {
        assert!(recorded.contains(&event), "{recorded:?}");
    }
    let used = bed.recorded().await.into_iter().find_map(|event| match event {
        Event::TokenUsed(used) => Some(used),
        _ => None,
    });
    let used = used.unwrap();
    assert_eq!(used.token.to_string(), id_of(&token_hash(&token).to_string()));
    assert_eq!(used.agent.value().unwrap().to_string(), ID);
    // The second time it is unknown, and that is on record once.
    assert!(matches!(bed.attest(&token).await, Err(AttestError::TokenUnknown)));
    let [refused] = bed.refusals().await.try_into().unwrap();
    assert!(says(&refused).1.contains("was used before") && says(&refused).0 == "127.0.0.1:4000", "{refused:?}");
    let counters = &bed.domain.watch.counters;
    let counted = [Counter::Attestations, Counter::TokensUsed, Counter::Refusals].map(|of| counters.value(of));
    assert_eq!(counted, [1, 1, 1]);
}

#[tokio::test]
async fn law_l5_attestation_of_a_banned_agent_is_recorded() {
    let bed = Testbed::new().await;
    bed.joined("host-a").await;
    let token = bed.token("host-a").await;
    bed.operator().await.execute(BanAgent { id: SpiffeId::parse(ID).unwrap() }).await.unwrap();
    assert!(matches!(bed.attest(&token).await, Err(AttestError::Banned { .. })));
    let [refused] = bed.refusals().await.try_into().unwrap();
    let (caller, reason, withdrawn) = says(&refused);
    assert!(caller == ID && reason.contains("is banned, and attested") && withdrawn == 0, "{caller}: {reason}");
}

#[tokio::test]
async fn law_l5_an_unstored_svid_is_withdrawn_on_record() {
    let bed = Testbed::new().await;
    let renewing = bed.joined("host-b").await;
    let token = bed.token("host-a").await;
    bed.store.fail_when(|write| matches!(write, Write::PutNode(_) | Write::RenewNode { .. }));
    assert!(matches!(bed.attest(&token).await, Err(AttestError::Unregistered { .. })));
    let renewed = bed.agent(&renewing).await.execute(Renew { csr: csr() }).await.map(drop).map_err(Refusal::into_error);
    assert!(matches!(renewed, Err(RenewError::Changed { denied: Denied::Journal(_), .. })), "{renewed:?}");
    let [joining, renewing] = bed.refusals().await.try_into().unwrap();
    assert_eq!((says(&joining).0.as_str(), says(&joining).2, says(&renewing).2), (ID, 1, 1));
}

#[tokio::test]
async fn what_proves_nothing_is_refused_and_on_record() {
    let bed = Testbed::new().await;
    let token = bed.token("host-a").await;
    let attest = |token: &str, csr: Vec<u8>| Attest {
        node: Joins { token: token.to_owned(), csr },
        address: [127, 0, 0, 1].into(),
        exporter: [7; 32],
        tls_group: "X25519".into(),
    };
    let stranger = bed.stranger().await;
    let broken = stranger.execute(attest(&token, vec![0x30])).await.map(drop).map_err(Refusal::into_error);
    assert!(matches!(broken, Err(AttestError::Csr(_))));
    let short = stranger.execute(attest("short", csr())).await.map(drop).map_err(Refusal::into_error);
    assert!(matches!(short, Err(AttestError::Node(_))));
    assert_eq!(bed.refusals().await.len(), 2);
    bed.attest(&token).await.map(drop).unwrap_or_else(|error| panic!("none of it spent the token: {error}"));
    // One address may try again later; that, too, is on record.
    let mut tries = 0;
    while !matches!(bed.attest("no-such-token-at-all").await, Err(AttestError::TooMany)) {
        tries += 1;
        assert!(tries < 500);
    }
    assert!(bed.refusals().await.iter().any(|refused| says(refused).1.contains("too many attestations")));
}

/// A node that opens a stream and shows nothing.
struct Silent;

impl AttestingNode for Silent {
    async fn opening(&mut self) -> Result<Opening, AttestError> {
        std::future::pending().await
    }
}

impl AnsweringNode for Silent {
    async fn answer(&mut self, _challenge: Vec<u8>) -> Result<Vec<u8>, AttestError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn law_l9_silent_strangers_hold_no_place() {
    let bed = Testbed::new().await;
    let mut silent = vec![];
    for number in 0..1000u16 {
        let [high, low] = number.to_be_bytes();
        let address = [10, 0, high, low].into();
        let attest = Attest { node: Silent, address, exporter: [7; 32], tls_group: "X25519".into() };
        let stranger = bed.stranger().await;
        silent.push(tokio::spawn(async move { stranger.execute(attest).await.map(drop).map_err(Refusal::into_error) }));
    }
    tokio::task::yield_now().await;
    let token = bed.token("host-a").await;
    bed.attest(&token).await.map(drop).unwrap_or_else(|error| panic!("{error}"));
    assert!(silent.iter().all(|stranger| !stranger.is_finished()));
    silent.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_renewed_svid_replaces_earlier_ones() {
    let bed = Testbed::new().await;
    let first = bed.joined("host-a").await;
    let renewed = bed.agent(&first).await.execute(Renew { csr: csr() }).await.map_err(Refusal::into_error).unwrap();
    let mut second = first.clone();
    second.serial = renewed.identity.serial;
    // Until the successor is used, the first is good.
    bed.agent(&first).await;
    bed.agent(&second).await;
    let denied = bed.admitted(&over_tls(Some(first)), Role::Agent).await.err().unwrap().into_error();
    assert!(matches!(denied, Denied::Standing(Standing::Superseded)), "{denied}");
    let [refused] = bed.refusals().await.try_into().unwrap();
    assert_eq!(says(&refused), (ID.to_owned(), "the agent's SVID was replaced by a later one".to_owned(), 0));
}

#[tokio::test]
async fn law_l6_a_ban_before_the_write_withdraws_renewal() {
    let bed = Testbed::new().await;
    let (renewing, posting) = (bed.joined("host-a").await, bed.joined("host-b").await);
    let (renewing, posting) = (bed.agent(&renewing).await, bed.agent(&posting).await);
    for call in [&renewing, &posting] {
        bed.operator().await.execute(BanAgent { id: call.caller.id.get().clone() }).await.unwrap();
    }
    let refused = renewing.execute(Renew { csr: csr() }).await.map(drop).map_err(Refusal::into_error);
    assert!(matches!(refused, Err(RenewError::Issue(IssueError::Refused(_)))), "{refused:?}");
    let refused = posting.execute(PostStatus { version: "1".into() }).await.map_err(Refusal::into_error);
    assert!(matches!(refused, Err(Denied::Standing(Standing::Banned))), "{refused:?}");
    assert_eq!(bed.refusals().await.len(), 2);
    let bad = renewing.execute(Renew { csr: vec![1] }).await.map(drop).map_err(Refusal::into_error);
    assert!(matches!(bad, Err(RenewError::Issue(IssueError::Csr(_)))), "{bad:?}");
}

#[tokio::test]
async fn an_operator_hears_what_a_node_answered() {
    let bed = Testbed::new().await;
    let id = bed.joined("host-a").await.spiffe_id;
    let asked = async |outcome: Option<StateOutcome>| {
        let mut open = bed.domain.streams.state_checks.enter(&id);
        let answers = async {
            let Question::State(waiting) = open.asked.recv().await.unwrap() else { panic!("a state is asked for") };
            // Without an outcome the stream closed.
            if let Some(outcome) = outcome {
                waiting.send(outcome).unwrap();
            }
        };
        let operator = bed.operator().await;
        let (heard, ()) = tokio::join!(operator.execute(AskState { id: id.clone() }), answers);
        heard.map_err(|refused| refused.into_error().to_string())
    };
    assert_eq!(asked(Some(StateOutcome::Accepted)).await, Ok(None));
    assert_eq!(asked(Some(StateOutcome::Denied("PCR 4".into()))).await, Ok(Some("PCR 4".into())));
    let undecided = asked(Some(StateOutcome::Undecided("a log is cut off".into()))).await.unwrap_err();
    assert!(undecided.contains("gave no proof of its state: a log is cut off"), "{undecided}");
    let closed = asked(None).await.unwrap_err();
    assert!(closed.contains("is not connected"), "{closed}");
}

#[tokio::test]
async fn a_drill_alerts_and_withdraws_no_node() {
    let bed = Testbed::new().await;
    bed.joined("host-a").await;
    let id = SpiffeId::parse(ID).unwrap();
    let mut open = bed.domain.streams.state_checks.enter(&id);
    let mut drilled = async |outcome: DrillOutcome| {
        let answers = async {
            let asked = open.asked.recv().await.unwrap();
            let Question::Drill(DrillKind::ReplayQuote, waiting) = asked else { panic!("a drill is asked for") };
            waiting.send(outcome).unwrap();
        };
        let (operator, drill) = (bed.operator().await, RunDrill { id: id.clone(), kind: DrillKind::ReplayQuote });
        let (heard, ()) = tokio::join!(operator.execute(drill), answers);
        heard.map_err(|refused| refused.into_error().to_string())
    };
    let alerts = async || bed.store.alerts(&bed.domain.identity.name, None, 9).await.unwrap();
    let before = bed.recorded().await.len();
    let reason = ("the quote answers another challenge".to_owned(), Duration::from_millis(3));
    let report = drilled(DrillOutcome::Refused(reason.0.clone(), reason.1)).await.unwrap();
    assert_eq!((report.refused.as_ref(), bed.recorded().await.len()), (Some(&reason), before + 1));
    let alert = alerts().await.pop().unwrap();
    assert_eq!(
        (&alert.id, &*alert.kind, alert.severity),
        (&report.alert, "drill replay-quote", AlertSeverity::Warning)
    );
    assert_eq!((&alert.agent, &alert.reason), (&id, &reason.0));
    // An attack that passes is an alert of the highest severity.
    assert_eq!(drilled(DrillOutcome::Accepted).await.unwrap().refused, None);
    assert_eq!(alerts().await.pop().unwrap().severity, AlertSeverity::Critical);
    // What could not be tried is neither.
    let heard = drilled(DrillOutcome::NotTried("no message for 30 s".to_owned())).await.err().unwrap();
    assert!(heard.contains("no message for 30 s") && alerts().await.len() == 2, "{heard}");
    assert!(bed.domain.view.read(|state| state.nodes.contains_key(&id)));
    assert_eq!(bed.domain.watch.counters.value(Counter::DrillsPlayed), 2);
    assert_eq!(bed.domain.watch.counters.value(Counter::AttestationsDenied), 0);
}

#[tokio::test]
async fn an_agent_version_is_stored_once() {
    let bed = Testbed::new().await;
    let shown = bed.joined("host-a").await;
    let before = bed.recorded().await.len();
    bed.agent(&shown).await.execute(PostStatus { version: "v".repeat(100) }).await.unwrap();
    let noted = bed.agent(&shown).await.caller.node.version.clone();
    assert_eq!(noted, "v".repeat(64));
    assert_eq!(bed.recorded().await.len(), before);
}

#[tokio::test]
async fn law_l3_the_door_admits_by_the_role_table() {
    let bed = Testbed::new().await;
    let shown = bed.joined("host-a").await;
    let mut expired = shown.clone();
    expired.not_after = sekisho_runtime::now().plus_seconds(-1);
    let mut workload = shown.clone();
    workload.spiffe_id = SpiffeId::parse("spiffe://example.org/shop").unwrap();
    for (leaf, role, says) in [
        (None, Role::Agent, "needs an agent's SVID"),
        (None, Role::Operator, "for operators"),
        (None, Role::LogReader, "for operators"),
        (Some(shown.clone()), Role::Operator, "for operators"),
        (Some(workload), Role::Agent, "not an agent's"),
        (Some(expired), Role::Agent, "has expired"),
    ] {
        let denied = bed.admitted(&over_tls(leaf), role).await.err().unwrap().into_error();
        assert!(denied.to_string().contains(says), "{denied}");
    }
    bed.operator().await.execute(EvictAgent { id: shown.spiffe_id.clone() }).await.unwrap();
    let denied = bed.admitted(&over_tls(Some(shown)), Role::Agent).await.err().unwrap().into_error();
    assert!(matches!(denied, Denied::Standing(Standing::Unknown)), "{denied}");
    assert_eq!(bed.refusals().await.len(), 7);
}
