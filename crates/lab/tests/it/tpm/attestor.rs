//! Both sides of the attestor, without sockets between them.

use std::collections::BTreeMap;

use sekisho_evidence::node::{
    Conversation, NodeAttestor, NodeError, NodeProof as _, Session, Step, TpmAnswer, VerifierInputs, attestor,
};
use sekisho_tpm::TpmProof;
use sekisho_types::{Digest, TrustDomain};

use super::{ISSUER, ROOT, Software, now};

/// Both ends of one attestation.
struct Exchange {
    trust_domain: TrustDomain,
    anchors: Vec<Vec<u8>>,
}

impl Exchange {
    fn new(software: &Software) -> (Self, TpmProof) {
        drop(software.connect());
        let chain = software.certificates(ISSUER);
        let proof = TpmProof::open(&software.socket(), chain).unwrap();
        let anchors = software.certificates(ROOT);
        (Self { trust_domain: TrustDomain::parse("td.example").unwrap(), anchors }, proof)
    }

    fn given<'a>(&'a self, session: Session<'a>) -> VerifierInputs<'a> {
        VerifierInputs { session, trust_domain: &self.trust_domain, anchors: &self.anchors, now: now() }
    }

    fn begin(&self, name: &str, payload: &[u8]) -> Result<(Vec<u8>, Box<dyn Conversation>), NodeError> {
        let attestor: &dyn NodeAttestor = attestor(name).unwrap();
        match attestor.begin(payload, &self.given(session(1, 1)))? {
            Step::Challenge(challenge, conversation) => Ok((challenge, conversation)),
            _ => panic!("a TPM is challenged"),
        }
    }
}

fn session(exporter: u8, key: u8) -> Session<'static> {
    Session { exporter: [exporter; 32], key: Digest::new([key; 32]), fresh: &sekisho_ports::random_bytes }
}

#[test]
fn a_node_attests_by_its_tpm() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let payload = proof.payload(&session(1, 1)).unwrap();
    let (challenge, conversation) = exchange.begin("danger_software_tpm", &payload).unwrap();
    let answer = proof.answer(&challenge, &session(1, 1)).unwrap();
    let Ok(Step::Proved(proved)) = conversation.go_on(&answer, &exchange.given(session(1, 1))) else {
        panic!("it proved itself");
    };
    let id = proved.id().to_string();
    assert!(id.starts_with("spiffe://td.example/spire/agent/danger_software_tpm/"), "{id}");
    let piece = &proved.evidence().pieces()[0];
    let texts: Vec<String> = piece.selectors().iter().map(ToString::to_string).collect();
    for wanted in ["danger_software_tpm:model:swtpm", "danger_software_tpm:pcr:0:"] {
        assert!(texts.iter().any(|text| text.starts_with(wanted)), "{texts:?}");
    }
}

#[test]
fn a_software_tpm_is_not_hardware() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let refused = exchange.begin("tpm", &proof.payload(&session(1, 1)).unwrap()).err().unwrap();
    assert!(refused.to_string().contains("the TPM is a program"), "{refused}");
}

#[test]
fn a_relayed_activation_is_refused() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let payload = proof.payload(&session(1, 1)).unwrap();
    // The answer is for another connection, or for another key, than the server's.
    for elsewhere in [session(2, 1), session(1, 2)] {
        let (challenge, conversation) = exchange.begin("danger_software_tpm", &payload).unwrap();
        let answer = proof.answer(&challenge, &elsewhere).unwrap();
        let refused = conversation.go_on(&answer, &exchange.given(session(1, 1))).err().unwrap();
        assert!(refused.to_string().contains("on this connection"), "{refused}");
    }
}

#[test]
fn an_answer_serves_one_challenge() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let payload = proof.payload(&session(1, 1)).unwrap();
    let (first, _) = exchange.begin("danger_software_tpm", &payload).unwrap();
    let (second, conversation) = exchange.begin("danger_software_tpm", &payload).unwrap();
    assert_ne!(first, second);
    let answer = proof.answer(&first, &session(1, 1)).unwrap();
    conversation.go_on(&answer, &exchange.given(session(1, 1))).err().unwrap();
}

#[test]
fn a_tpm_cannot_answer_for_another() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let ((exchange, proof), (_, thief)) = (Exchange::new(&one), Exchange::new(&other));
    let (challenge, conversation) =
        exchange.begin("danger_software_tpm", &proof.payload(&session(1, 1)).unwrap()).unwrap();
    let refused = thief.answer(&challenge, &session(1, 1)).unwrap_err();
    assert!(refused.to_string().contains("TPM2_ActivateCredential"), "{refused}");
    // Nor can one that guesses the secret.
    let guess = TpmAnswer { quote: vec![], signature: vec![], pcrs: BTreeMap::new(), event_log: None }
        .encode(&[0; 32], &[0; 32]);
    conversation.go_on(&guess, &exchange.given(session(1, 1))).err().unwrap();
}

#[test]
fn an_unknown_manufacturer_is_refused() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let ((_, proof), (exchange, _)) = (Exchange::new(&one), Exchange::new(&other));
    let refused = exchange.begin("danger_software_tpm", &proof.payload(&session(1, 1)).unwrap()).err().unwrap();
    assert!(refused.to_string().contains("not trusted here"), "{refused}");
}

/// One event with a SHA-256 digest.
fn event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [pcr.to_le_bytes(), kind.to_le_bytes(), 1u32.to_le_bytes()].concat();
    out.extend(0x0bu16.to_le_bytes());
    out.extend(digest);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

/// The Spec ID event of a log with SHA-256 digests.
fn spec_id() -> Vec<u8> {
    let data = [&b"Spec ID Event03\0"[..], &[0, 0, 0, 0, 0, 2, 0, 8, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]].concat();
    let mut out = [0u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
    out.extend([0; 20]);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

#[test]
fn an_event_log_must_explain_the_pcrs() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let file = software.folder.path().join("log");
    let proof = proof.with_event_log(file.clone());
    let payload = proof.payload(&session(1, 1)).unwrap();
    // This TPM was never extended: its PCRs are what an empty log gives, and no other.
    for (log, is_true) in [
        (spec_id(), true),
        ([spec_id(), event(0, 3, &[0; 32], b"nothing")].concat(), true),
        ([spec_id(), event(0, 8, &[9; 32], b"a firmware")].concat(), false),
        ([spec_id(), vec![1]].concat(), false),
    ] {
        std::fs::write(&file, &log).unwrap();
        let (challenge, conversation) = exchange.begin("danger_software_tpm", &payload).unwrap();
        let answer = proof.answer(&challenge, &session(1, 1)).unwrap();
        let judged = conversation.go_on(&answer, &exchange.given(session(1, 1)));
        assert_eq!(judged.is_ok(), is_true, "{:?}", judged.err().map(|error| error.to_string()));
    }
}
