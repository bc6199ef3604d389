//! What one agent in good standing can put into the log, and whom it takes nothing from.

use sekisho_identity::csr_der;
use sekisho_proto::server::{RecordRequest, node_client::NodeClient};
use sekisho_proto::spire::svid::v1::{
    BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams, svid_client::SvidClient,
};
use tonic::Code;

use crate::peers::{Attested, clock, key};
use crate::within::{World, eventually};

/// Asks for SVIDs of entries that do not exist.
async fn refused(agent: &Attested, entry: &str, times: usize) {
    let one = NewX509svidParams { entry_id: entry.to_owned(), csr: csr_der(&key(), None).unwrap() };
    let request = BatchNewX509svidRequest { params: vec![one; times] };
    let answer = SvidClient::new(agent.channel.clone()).batch_new_x509svid(request).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), times);
    for result in answer.results {
        assert_eq!(result.status.unwrap().code, Code::NotFound as i32);
    }
}

#[tokio::test(start_paused = true)]
async fn law_l9_repeated_refusals_of_an_agent_are_bounded() {
    let world = World::start().await;
    let (flood, other) = (Attested::new(&world).await, Attested::new(&world).await);
    let began = tokio::time::Instant::now();
    for _ in 0..20 {
        refused(&flood, "ent_flood", 500).await;
    }
    refused(&other, "ent_other", 1).await;
    world.log_says("ent_other").await;
    // The count of those that have no leaf is a leaf, which names the agent in a commitment.
    let lost = eventually("the rest is counted", async || {
        let gaps = world.leaves("gap").await;
        let lost: u64 =
            gaps.iter().filter(|gap| gap["caller"].is_string()).filter_map(|gap| gap["lost"].as_u64()).sum();
        (lost > 9_000).then_some(lost)
    })
    .await;
    let leaves = world.leaves("refusal").await.len() as u64;
    let allowed = 100 + 5 * (began.elapsed().as_secs() + 1) + 1;
    assert!((101..=allowed).contains(&leaves), "{leaves} leaves, {allowed} allowed");
    assert!(leaves + lost >= 10_000, "{leaves} leaves and {lost} counted: some refusals are neither");
}

#[tokio::test(start_paused = true)]
async fn law_l9_tokens_of_one_agent_are_bounded_in_bytes() {
    let world = World::start().await;
    let (flood, other) = (Attested::new(&world).await, Attested::new(&world).await);
    let (entry, own) = (flood.entry(&world, "/own/flood").await, other.entry(&world, "/own/other").await);
    let ask = async |agent: &Attested, entry_id: &str, audience: Vec<String>| {
        let request = NewJwtsvidRequest { entry_id: entry_id.to_owned(), audience };
        SvidClient::new(agent.channel.clone()).new_jwtsvid(request).await.map(drop).map_err(|status| status.code())
    };
    let began = tokio::time::Instant::now();
    let long: Vec<String> = (0..16).map(|number| format!("{number:0500}")).collect();
    let mut answers = vec![];
    for _ in 0..30 {
        let forty = (0..40).map(|_| ask(&flood, &entry, long.clone()));
        answers.extend(futures_util::future::join_all(forty).await);
    }
    let issued = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(Code::ResourceExhausted))), "{answers:?}");
    // 4 MiB at once, and 256 KiB a second, of about 8.7 kB each.
    let allowed = (4096 + 256 * (began.elapsed().as_secs() + 1)) / 8;
    assert!((300..=allowed).contains(&issued), "{issued} tokens, {allowed} allowed");
    assert_eq!(ask(&other, &own, vec!["ledger".into()]).await, Ok(()), "another agent is not concerned");
}

#[tokio::test(start_paused = true)]
async fn law_l9_batches_of_one_record_are_bounded_too() {
    let world = World::start().await;
    let (flood, other) = (Attested::new(&world).await, Attested::new(&world).await);
    flood.entry(&world, "/own/flood").await;
    other.entry(&world, "/own/other").await;
    let send = async |agent: &Attested, about: &str, spool: usize| {
        let (at, input) = (clock().millis(), format!(r#""input":{{"destination":"spiffe://example.org{about}"}}"#));
        let id = format!("dec_{at:012x}{spool:020x}");
        let record = format!(r#"{{"id":"{id}","at_ms":{at},"kind":"decision","effect":"allow",{input}}}"#);
        let request = RecordRequest { records: vec![record.into()], lost: 0, batch_key: format!("s{spool}:0") };
        NodeClient::new(agent.channel.clone()).record(request).await.map(drop).map_err(|status| status.code())
    };
    let began = tokio::time::Instant::now();
    let mut answers = vec![];
    for round in 0..60 {
        let many = (0..100).map(|number| send(&flood, "/own/flood", round * 100 + number));
        answers.extend(futures_util::future::join_all(many).await);
    }
    let taken = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    // Not refused for good: a spool keeps what is refused like this, and sends it again.
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(Code::ResourceExhausted))), "{answers:?}");
    let allowed = 2000 + 200 * (began.elapsed().as_secs() + 1);
    assert!((2000..=allowed).contains(&taken), "{taken} batches taken, {allowed} allowed");
    if allowed < 6000 {
        assert!(answers.contains(&Err(Code::ResourceExhausted)));
    }
    assert_eq!(send(&other, "/own/other", 1).await, Ok(()), "another agent is not concerned");
}
