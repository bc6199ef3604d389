//! Nodes that answer a server's challenges over the wire otherwise than an honest agent does.

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_evidence::node::{NodeProof as _, QuotedPcrs, Session, TpmAnswer, TpmRequest};
use sekisho_identity::{Bundle, csr_der};
use sekisho_keys::MemoryKey;
use sekisho_net::{Dialer, ExpectedServer, TlsMaterial, TlsSource, grpc_over_one};
use sekisho_proto::spire::agent::v1 as wire;
use sekisho_proto::spire::agent::v1::agent_client::AgentClient;
use sekisho_proto::types;
use sekisho_tpm::TpmProof;
use sekisho_types::{Signer as _, SpiffeId};
use tokio::sync::mpsc::Sender;
use tonic::{Status, Streaming};
use wire::attest_agent_request::Step as Sent;
use wire::attest_agent_response::Step as Heard;

use super::{ISSUER, ROOT, Software};
use crate::peers::{Place as _, clock, key};
use crate::within::{TRUST_DOMAIN, World};

/// An attestation by TPM that has begun.
struct Begun {
    to: Sender<wire::AttestAgentRequest>,
    answers: Streaming<wire::AttestAgentResponse>,
    exporter: [u8; 32],
    key: MemoryKey,
    challenge: Vec<u8>,
}

impl Begun {
    async fn new(world: &World, proof: &TpmProof) -> Self {
        let id = SpiffeId::parse(&format!("spiffe://{TRUST_DOMAIN}/spire/server")).unwrap();
        let source = TlsSource::new(TlsMaterial::new(None, Arc::new(Bundle::empty(id.trust_domain()))).unwrap());
        let expected = ExpectedServer::Fingerprint { id, authorities: vec![world.authority()] };
        let dialer = Dialer { source, address: world.address().to_owned(), expected, clock };
        let (server, peer) = grpc_over_one(&dialer).await.unwrap();
        let key = key();
        let payload = proof.payload(&session(peer.exporter, &key)).unwrap();
        let (to, requests) = tokio::sync::mpsc::channel(8);
        let params = wire::attest_agent_request::Params {
            data: Some(types::AttestationData { r#type: "danger_software_tpm".into(), payload }),
            params: Some(wire::AgentX509svidParams { csr: csr_der(&key, None).unwrap() }),
        };
        to.send(wire::AttestAgentRequest { step: Some(Sent::Params(params)) }).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut answers = AgentClient::new(server).attest_agent(requests).await.unwrap().into_inner();
        let Some(Heard::Challenge(challenge)) = answers.message().await.unwrap().and_then(|answer| answer.step) else {
            panic!("a TPM is challenged");
        };
        Self { to, answers, exporter: peer.exporter, key, challenge }
    }

    async fn send(&self, answer: Vec<u8>) {
        let step = Some(Sent::ChallengeResponse(answer));
        // The server may have closed the stream.
        let _gone = self.to.send(wire::AttestAgentRequest { step }).await;
    }

    fn answer(&self, proof: &TpmProof, challenge: &[u8]) -> Vec<u8> {
        proof.answer(challenge, &session(self.exporter, &self.key)).unwrap()
    }

    async fn heard(&mut self) -> Result<Option<Heard>, Status> {
        Ok(self.answers.message().await?.and_then(|answer| answer.step))
    }
}

fn session(exporter: [u8; 32], key: &MemoryKey) -> Session<'static> {
    Session::new(exporter, key.public_key_der(), &sekisho_ports::random_bytes)
}

/// What a node sends that did not open the credential.
fn guess() -> Vec<u8> {
    let quoted = QuotedPcrs { quote: vec![], signature: vec![], pcrs: BTreeMap::new(), kernel: BTreeMap::new() };
    TpmAnswer { quoted, certified: None }.encode(&[0; 32], &[0; 32])
}

async fn agents(world: &World) -> usize {
    world.json(&["agents", "list"]).await.as_array().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn cve_2023_38201_a_challenge_has_one_try() {
    let Some(software) = Software::new() else { return };
    let world = World::with_server(&["--danger-software-tpm-ca", &software.authority(ROOT)]).await;
    drop(software.connect());
    let proof = TpmProof::open(&software.socket(), software.certificates(ISSUER)).unwrap();
    let mut begun = Begun::new(&world, &proof).await;
    let right = begun.answer(&proof, &begun.challenge);
    begun.send(guess()).await;
    begun.send(right.clone()).await;
    let refused = begun.heard().await.err().unwrap();
    assert!(refused.message().contains("does not show the credential's secret"), "{refused}");
    assert!(!matches!(begun.heard().await, Ok(Some(_))), "it is at its end");
    // Nor does the right answer to that challenge fit the next one.
    let mut next = Begun::new(&world, &proof).await;
    assert_ne!(next.challenge, begun.challenge);
    next.send(right).await;
    next.heard().await.err().unwrap();
    assert_eq!(agents(&world).await, 0);
    // What is asked first is answered first: without a guess the same node is admitted.
    let mut honest = Begun::new(&world, &proof).await;
    let mut challenge = honest.challenge.clone();
    loop {
        let answer = honest.answer(&proof, &challenge);
        honest.send(answer).await;
        match honest.heard().await.unwrap() {
            Some(Heard::Challenge(next)) => challenge = next,
            Some(Heard::Result(_)) => break,
            None => panic!("no result"),
        }
    }
    assert_eq!(agents(&world).await, 1);
}

/// A server that always asks the same would take a recorded answer.
#[tokio::test(start_paused = true)]
async fn cve_2026_6420_two_challenges_never_equal() {
    let Some(software) = Software::new() else { return };
    let world = World::with_server(&["--danger-software-tpm-ca", &software.authority(ROOT)]).await;
    drop(software.connect());
    let proof = TpmProof::open(&software.socket(), software.certificates(ISSUER)).unwrap();
    let mut parts = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let begun = Begun::new(&world, &proof).await;
        let Some(TpmRequest::Activate(challenge)) = TpmRequest::decode(&begun.challenge) else {
            panic!("a credential")
        };
        parts.extend([challenge.nonce.to_vec(), challenge.credential, challenge.encrypted_seed]);
    }
    assert_eq!(parts.len(), 9, "nonce, credential and seed are new each time");
}
