//! Both sides of the attestor, without sockets between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::boot::BootPolicy;
use sekisho_evidence::node::{
    Conversation, NodeAttestor, NodeError, NodeProof as _, Proved, QuotedPcrs, Session, Step, TpmAnswer, TpmOpening,
    TpmRequest, VerifierInputs, attestor,
};
use sekisho_keys::MemoryKey;
use sekisho_tpm::{Template, TpmProof};
use sekisho_types::{Digest, SignatureAlgorithm, Signer as _, SpiffeId, TrustDomain, UnixTime};

use super::{ISSUER, ROOT, Software, now};

/// Both ends of attestations, and what the server keeps between them.
pub(super) struct Exchange {
    trust_domain: TrustDomain,
    anchors: Vec<Vec<u8>>,
    kept: Arc<Mutex<Option<String>>>,
    pub(super) approvals: bool,
    pub(super) boot_policy: Option<Arc<BootPolicy>>,
    /// The server's time; the true one if absent.
    pub(super) now: Option<UnixTime>,
    remembered: Box<Remembered>,
}

/// What the server kept of a node.
type Remembered = dyn Fn(&SpiffeId) -> Option<String> + Sync;

impl Exchange {
    pub(super) fn new(software: &Software) -> (Self, TpmProof) {
        drop(software.connect());
        let chain = software.certificates(ISSUER);
        let proof = TpmProof::open(&software.socket(), chain).unwrap();
        let (anchors, kept) = (software.certificates(ROOT), Arc::<Mutex<Option<String>>>::default());
        let of_node = kept.clone();
        let remembered = Box::new(move |_: &SpiffeId| of_node.lock().unwrap().clone());
        let trust_domain = TrustDomain::parse("td.example").unwrap();
        (Self { trust_domain, anchors, kept, approvals: false, boot_policy: None, now: None, remembered }, proof)
    }

    pub(super) fn given<'a>(&'a self, session: Session<'a>) -> VerifierInputs<'a> {
        VerifierInputs {
            session,
            trust_domain: &self.trust_domain,
            anchors: &self.anchors,
            manufacturers: &self.anchors,
            remembered: &self.remembered,
            approvals: self.approvals,
            boot_policy: self.boot_policy.as_ref(),
            now: self.now.unwrap_or_else(now),
        }
    }

    pub(super) fn forget_anchors(&mut self) {
        self.anchors.clear();
    }

    fn begin(&self, name: &str, payload: &[u8]) -> Result<(Vec<u8>, Box<dyn Conversation>), NodeError> {
        let attestor: &dyn NodeAttestor = attestor(name).unwrap();
        match attestor.begin(payload, &self.given(session(1, 1)))? {
            Step::Challenge(challenge, conversation) => Ok((challenge, conversation)),
            _ => panic!("a TPM is challenged"),
        }
    }

    /// A whole attestation. Returns what the server asked for, and what came of it.
    pub(super) fn attest(&self, proof: &TpmProof) -> (Vec<TpmRequest>, Result<Proved, NodeError>) {
        let payload = proof.payload(&session(1, 1)).unwrap();
        self.carry_on(proof, attestor("danger_software_tpm").unwrap().begin(&payload, &self.given(session(1, 1))))
    }

    /// An attestation of a node that is known.
    pub(super) fn attest_again(&self, proof: &TpmProof) -> (Vec<TpmRequest>, Result<Proved, NodeError>) {
        let node = SpiffeId::parse("spiffe://td.example/spire/agent/danger_software_tpm/x").unwrap();
        let begun = attestor("danger_software_tpm").unwrap().again(&node, &self.given(session(1, 1)));
        self.carry_on(proof, begun.expect("the node is known"))
    }

    pub(super) fn carry_on(
        &self,
        proof: &TpmProof,
        begun: Result<Step, NodeError>,
    ) -> (Vec<TpmRequest>, Result<Proved, NodeError>) {
        let (mut asked, mut step) = (vec![], begun);
        loop {
            step = match step {
                Ok(Step::Challenge(challenge, conversation)) => {
                    asked.push(TpmRequest::decode(&challenge).unwrap());
                    let answer = proof.answer(&challenge, &session(1, 1)).unwrap();
                    conversation.go_on(&answer, &self.given(session(1, 1)))
                }
                Ok(Step::Proved(proved)) => {
                    self.keep(&proved);
                    return (asked, Ok(proved));
                }
                Ok(Step::Approval(unvouched)) => panic!("an authority vouches for {:?}", unvouched.device),
                Ok(Step::Spend(_)) => panic!("a TPM has no secret that is spent"),
                Err(error) => return (asked, Err(error)),
            };
        }
    }

    /// The server keeps what was proved.
    pub(super) fn keep(&self, proved: &Proved) {
        *self.kept.lock().unwrap() = proved.remembers().map(str::to_owned);
    }

    /// What the server keeps of the node.
    pub(super) fn kept(&self) -> serde_json::Value {
        serde_json::from_str(self.kept.lock().unwrap().as_ref().expect("it attested")).unwrap()
    }
}

pub(super) fn session(exporter: u8, key: u8) -> Session<'static> {
    Session { exporter: [exporter; 32], key: Digest::new([key; 32]), fresh: &sekisho_ports::random_bytes }
}

#[test]
fn a_node_attests_by_its_tpm() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let (asked, proved) = exchange.attest(&proof);
    let proved = proved.unwrap();
    // It has no logs: there is nothing in PCR 10 to explain.
    assert!(matches!(asked[..], [TpmRequest::Activate(_), TpmRequest::Log { .. }]), "{asked:?}");
    let id = proved.id().to_string();
    assert!(id.starts_with("spiffe://td.example/spire/agent/danger_software_tpm/"), "{id}");
    let piece = &proved.evidence().pieces()[0];
    let texts: Vec<String> = piece.selectors().iter().map(ToString::to_string).collect();
    for wanted in ["danger_software_tpm:model:swtpm", "danger_software_tpm:pcr:0:"] {
        assert!(texts.iter().any(|text| text.starts_with(wanted)), "{texts:?}");
    }
}

/// What the server finds of the key: its class, or why it is refused.
fn key_class(exchange: &Exchange, proof: &TpmProof, session: impl Fn() -> Session<'static>) -> String {
    let (mut challenge, mut conversation) =
        exchange.begin("danger_software_tpm", &proof.payload(&session()).unwrap()).unwrap();
    loop {
        let answer = proof.answer(&challenge, &session()).unwrap();
        match conversation.go_on(&answer, &exchange.given(session())) {
            Ok(Step::Challenge(next, waiting)) => (challenge, conversation) = (next, waiting),
            Ok(Step::Proved(proved)) => {
                let selectors = proved.evidence().pieces()[0].selectors().clone();
                let class = selectors.iter().find_map(|one| one.value().strip_prefix("key_class:").map(str::to_owned));
                return class.unwrap();
            }
            Ok(_) => panic!("nothing is spent and nothing approved"),
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn the_key_of_the_request_is_certified() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    assert_eq!(key_class(&exchange, &proof, || session(1, 1)), "software");
    let key = proof.key().unwrap().unwrap();
    let digest = Digest::new(sekisho_ledger::sha256_of(key.signer.public_key_der()));
    let ours = || Session { exporter: [1; 32], key: digest, fresh: &sekisho_ports::random_bytes };
    assert_eq!(key_class(&exchange, &proof, ours), "tpm-certified");
    // A request for a key elsewhere, with a certificate of the one in the TPM.
    let refused = key_class(&exchange, &proof, || session(1, 1));
    assert_eq!(refused, "the certified key is not the key of the certificate signing request");
}

#[test]
fn a_shown_state_keeps_the_key_s_class() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let _key = proof.key().unwrap().unwrap();
    let (_, refused) = exchange.attest(&proof);
    assert!(refused.err().unwrap().to_string().contains("is not the key of"), "the session has another key");
    let (_, proved) = exchange.attest(&TpmProof::open(&software.socket(), software.certificates(ISSUER)).unwrap());
    proved.unwrap();
    assert_eq!(exchange.kept()["key_class"], "software");
    let (_, again) = exchange.attest_again(&proof);
    let selectors = again.unwrap().evidence().pieces()[0].selectors().clone();
    assert!(selectors.iter().any(|one| one.value() == "key_class:software"), "{selectors:?}");
}

#[test]
fn the_state_of_the_kernel_is_reported() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let proof = proof.with_kernel([("lockdown", "integrity".to_owned()), ("ek", "00".to_owned())]);
    for (_, proved) in [exchange.attest(&proof), exchange.attest_again(&proof)] {
        let proved = proved.unwrap();
        let classes: Vec<_> = proved.evidence().pieces().iter().map(|piece| piece.class().name).collect();
        assert_eq!(classes, ["danger_software_tpm", "kernel"]);
        let kernel: Vec<String> = proved.evidence().pieces()[1].selectors().iter().map(ToString::to_string).collect();
        assert_eq!(kernel, ["kernel:lockdown:integrity"]);
        // As it comes back from the store.
        let node = sekisho_identity::Node::proved(&proved);
        assert_eq!(node.evidence().unwrap(), *proved.evidence());
        assert_eq!(node.attestation_type, "danger_software_tpm");
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
fn cve_2026_6420_an_answer_serves_one_challenge() {
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
    let quoted = QuotedPcrs { quote: vec![], signature: vec![], pcrs: BTreeMap::new(), kernel: BTreeMap::new() };
    let guess = TpmAnswer { quoted, certified: None }.encode(&[0; 32], &[0; 32]);
    conversation.go_on(&guess, &exchange.given(session(1, 1))).err().unwrap();
}

/// A key of the same TPM that signs whatever it is given would sign a forged quote.
#[test]
fn cve_2021_3406_an_unrestricted_key_attests_nothing() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let mut opening = TpmOpening::decode(&proof.payload(&session(1, 1)).unwrap()).unwrap();
    let mut tpm = software.connect();
    let forger = tpm.primary(Template::Svid).unwrap();
    opening.ak_public.clone_from(&forger.public_bytes);
    let forged = Sha256.digest([b"\xffTCG\x80\x18 and what the forger wants".as_slice()]);
    tpm.sign(&forger, &forged).unwrap();
    tpm.flush(forger).unwrap();
    let refused = exchange.begin("danger_software_tpm", &opening.encode()).err().unwrap().to_string();
    assert!(refused.contains("restricted"), "{refused}");
}

/// A key outside of the TPM that has all the attributes of one inside.
#[test]
fn cve_2021_3406_a_forged_key_attests_nothing() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let mut opening = TpmOpening::decode(&proof.payload(&session(1, 1)).unwrap()).unwrap();
    let outside = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let point = outside.public_key_der().last_chunk::<64>().unwrap();
    let at = opening.ak_public.len() - 66;
    opening.ak_public[at..at + 32].copy_from_slice(&point[..32]);
    opening.ak_public[at + 34..].copy_from_slice(&point[32..]);
    // It looks like an attestation key, so a credential is made for its name.
    let (challenge, conversation) = exchange.begin("danger_software_tpm", &opening.encode()).unwrap();
    // The TPM opens it for no key that it does not hold.
    let refused = proof.answer(&challenge, &session(1, 1)).unwrap_err().to_string();
    assert!(refused.contains("TPM2_ActivateCredential") && refused.contains("0x1df"), "{refused}");
    assert!(conversation.go_on(b"{}", &exchange.given(session(1, 1))).is_err());
}

#[test]
fn an_unknown_manufacturer_is_refused() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let ((_, proof), (exchange, _)) = (Exchange::new(&one), Exchange::new(&other));
    let refused = exchange.begin("danger_software_tpm", &proof.payload(&session(1, 1)).unwrap()).err().unwrap();
    assert!(refused.to_string().contains("not trusted here"), "{refused}");
}
