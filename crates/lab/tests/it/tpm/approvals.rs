//! TPMs for which no authority vouches: an operator allows each of them.

use std::sync::Arc;

use sekisho_evidence::node::{NodeProof as _, Step, attestor};
use sekisho_identity::Node;
use sekisho_store::{Batch, Write};
use sekisho_types::{SpiffeId, TrustDomain};

use super::attestor::{Exchange, session};
use super::{ISSUER, ROOT, Software};
use crate::within::{TRUST_DOMAIN, World};

#[test]
fn a_tpm_waits_once_its_key_is_shown() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let ((_, proof), (mut exchange, thief)) = (Exchange::new(&one), Exchange::new(&other));
    exchange.approvals = true;
    let attestor = attestor("danger_software_tpm").unwrap();
    let begin = || match attestor.begin(&proof.payload(&session(1, 1)).unwrap(), &exchange.given(session(1, 1))) {
        Ok(Step::Challenge(challenge, conversation)) => (challenge, conversation),
        _ => panic!("it has to show its key first"),
    };
    // A certificate alone, which anyone may have, puts no TPM on the list.
    let (challenge, conversation) = begin();
    thief.answer(&challenge, &session(1, 1)).unwrap_err();
    assert!(conversation.go_on(b"{}", &exchange.given(session(1, 1))).is_err());
    let (challenge, conversation) = begin();
    let answer = proof.answer(&challenge, &session(1, 1)).unwrap();
    let Ok(Step::Approval(unvouched)) = conversation.go_on(&answer, &exchange.given(session(1, 1))) else {
        panic!("no authority vouches for it");
    };
    assert!(unvouched.device.about.contains("model swtpm"), "{:?}", unvouched.device);
    let key = unvouched.device.key;
    let (_, proved) = exchange.carry_on(&proof, unvouched.approved());
    assert_eq!(proved.unwrap().device().unwrap().key, key);
    // One that an authority vouches for waits for no operator.
    assert!(exchange.attest(&thief).1.is_ok());
}

#[test]
fn approval_makes_software_not_hardware() {
    let Some(software) = Software::new() else { return };
    let (mut exchange, proof) = Exchange::new(&software);
    exchange.forget_anchors();
    let payload = proof.payload(&session(1, 1)).unwrap();
    let refused = |exchange: &Exchange, name: &str| {
        let begun = attestor(name).unwrap().begin(&payload, &exchange.given(session(1, 1)));
        begun.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(&exchange, "tpm").contains("--tpm-ca"));
    exchange.approvals = true;
    // It is judged, and known as a program by its model.
    assert!(refused(&exchange, "tpm").contains("the TPM is a program"));
    assert!(refused(&exchange, "danger_software_tpm").contains("--danger-software-tpm-ca"));
}

#[tokio::test(start_paused = true)]
async fn an_operator_allows_a_tpm() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    drop(one.connect());
    let root = other.authority(ROOT);
    let world = World::with(&["--danger-software-tpm-ca", &root, "--tpm-approval"]).await;
    let socket = one.socket().display().to_string();
    let proof = ["--tpm", &socket, "--tpm-chain", &one.authority(ISSUER)];
    let refused = world.try_agent("n", &proof).await.err().unwrap();
    assert!(refused.contains("sekisho tpm approve "), "{refused}");
    let listed = world.json(&["tpm", "list"]).await;
    let (ek, row) = (listed[0]["ek"].as_str().unwrap().to_owned(), &listed[0]);
    assert!(refused.contains(&ek) && row["agent_id"].is_null() && row["approved_by"].is_null(), "{row}");
    assert!(world.text(&["tpm", "list"]).await.contains("waits"));

    world.text(&["tpm", "approve", &ek[..16]]).await;
    let agent = world.try_agent("n", &proof).await.unwrap();
    let listed = world.json(&["tpm", "list"]).await;
    let id = listed[0]["agent_id"].as_str().unwrap().to_owned();
    assert!(id.ends_with(&ek) && listed[0]["approved_by"].is_string(), "{listed}");
    assert_eq!(world.leaves("device-change").await.len(), 1);

    world.text(&["tpm", "revoke", &ek]).await;
    assert!(!world.json(&["agents", "list"]).await.to_string().contains(&id), "its agent is evicted");
    let listed = world.text(&["tpm", "list"]).await;
    assert!(listed.contains("revoked") && !listed.contains("vouched for"), "{listed}");
    agent.end().await;
    assert!(world.try_agent("m", &proof).await.is_err());
    let (code, _, heard) = world.sekisho(&["tpm", "revoke", &ek]).await;
    assert!(code != 0 && heard.contains("sekisho tpm list"), "{heard}");
}

/// A row that this release cannot read, as of another release.
async fn damage(world: &World, id: &str) {
    let store = sekisho_store::open(&world.path("s/state.db")).unwrap();
    let (name, id) = (TrustDomain::parse(TRUST_DOMAIN).unwrap(), SpiffeId::parse(id).unwrap());
    let snapshot = store.snapshot(&name).await.unwrap();
    let node = snapshot.nodes.iter().find(|node| node.id == id).unwrap();
    let damaged = Node { remembered: Some("{}".into()), ..(**node).clone() };
    let write = Write::PutNode(Arc::new(damaged));
    store.commit(Batch::of(&name, write)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_state_excuses_no_node() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let mut world = World::with_server(&["--danger-software-tpm-ca", &software.authority(ROOT)]).await;
    let socket = software.socket().display().to_string();
    let proof = ["--tpm", &socket, "--tpm-chain", &software.authority(ISSUER)];
    world.try_agent("n", &proof).await.unwrap().end().await;
    let id = world.json(&["agents", "list"]).await[0]["id"].as_str().unwrap().to_owned();
    world.stop_server().await;
    damage(&world, &id).await;
    world.start_server().await;
    // A node that is known is judged by its logs, and that is logged as an error.
    world.try_agent("m", &proof).await.unwrap().end().await;
    assert!(world.logged().contains("last state is not readable"), "{}", world.logged());

    world.stop_server().await;
    damage(&world, &id).await;
    world.start_server().await;
    world.text(&["agents", "evict", &id]).await;
    let refused = world.try_agent("o", &proof).await.err().unwrap();
    let ek = id.rsplit('/').next().unwrap();
    assert!(refused.contains(&format!("sekisho tpm approve {ek}")) && refused.contains("not readable"), "{refused}");
    assert_eq!(world.json(&["agents", "list"]).await, serde_json::json!([]));
    // An operator vouches for the machine.
    world.text(&["tpm", "approve", ek]).await;
    world.try_agent("p", &proof).await.unwrap().end().await;
}
