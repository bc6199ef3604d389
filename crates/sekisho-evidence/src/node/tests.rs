use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use sekisho_types::{
    Digest, EvidenceClass, Secret, Selector, SignError, SignatureAlgorithm, Signer, SpiffeId, TrustDomain,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
const TOKEN: &str = "0123456789abcdef-token";

fn fresh() -> [u8; 32] {
    static CALLS: AtomicU8 = AtomicU8::new(0);
    [CALLS.fetch_add(1, Ordering::Relaxed); 32]
}

fn session() -> Session<'static> {
    Session { exporter: [7; 32], key: Digest::new([5; 32]), fresh: &fresh }
}

fn given<'a>(trust_domain: &'a TrustDomain, anchors: &'a [Vec<u8>]) -> VerifierInputs<'a> {
    VerifierInputs {
        session: session(),
        trust_domain,
        anchors,
        manufacturers: anchors,
        remembered: &|_| None,
        approvals: false,
        boot_policy: None,
        now: NOW,
    }
}

fn td() -> TrustDomain {
    TrustDomain::parse("td").unwrap()
}

#[test]
fn law_l4_a_token_proves_nothing_until_it_is_spent() {
    let proof = JoinTokenProof(Secret::new(TOKEN.into()));
    let payload = proof.payload(&session()).unwrap();
    assert_eq!(payload, TOKEN.as_bytes());
    let Ok(Step::Spend(once)) = attestor("join_token").unwrap().begin(&payload, &given(&td(), &[])) else {
        panic!("a token is spent");
    };
    assert_eq!((once.hash(), proof.one_time()), (token_hash(TOKEN), Some(token_hash(TOKEN))));
    let agent = SpiffeId::parse("spiffe://td/spire/agent/one").unwrap();
    let proved = once.spent(agent.clone(), NOW).unwrap();
    assert_eq!((proved.id(), proved.can_reattest()), (&agent, false));
    let piece = &proved.evidence().pieces()[0];
    assert_eq!((piece.class().name, piece.measured_at(), piece.ends_at()), ("join_token", NOW, None));
    assert!(proof.answer(b"{}", &session()).is_err() && !proof.can_repeat());
}

#[test]
fn a_weak_token_or_a_path_is_refused() {
    for bad in ["", "short", "../../../../../../etc/x", &"a".repeat(129), "0123456789abcdef\n"] {
        let begun = attestor("join_token").unwrap().begin(bad.as_bytes(), &given(&td(), &[]));
        assert!(matches!(begun, Err(NodeError::Refused(_))), "{bad:?}");
    }
    assert!(attestor("join_token").unwrap().begin(&[0xff; 20], &given(&td(), &[])).is_err());
}

/// A key, and a certificate for it that it signed itself.
struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(kind, &SystemRandom::new()).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(kind, document.as_ref()).unwrap())
    }

    fn certificate(&self, is_authority: bool, issuer: (&str, &Self), subject: &str) -> Vec<u8> {
        let p256 = [tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])];
        let point = [&[0][..], self.0.public_key().as_ref()].concat();
        let key = tlv(0x30, &[tlv(0x30, &p256.concat()), tlv(3, &point)].concat());
        let name = |text: &str| {
            let common = [tlv(6, &[0x55, 4, 3]), tlv(0x0c, text.as_bytes())].concat();
            tlv(0x30, &tlv(0x31, &tlv(0x30, &common)))
        };
        // keyCertSign, or digitalSignature.
        let usage = tlv(3, if is_authority { &[2, 4] } else { &[7, 0x80] });
        let basic = if is_authority { tlv(0x30, &tlv(1, &[0xff])) } else { tlv(0x30, &[]) };
        let extension = |oid: &[u8], value: &[u8]| tlv(0x30, &[tlv(6, oid), tlv(1, &[0xff]), tlv(4, value)].concat());
        let extensions = [extension(&[0x55, 0x1d, 15], &usage), extension(&[0x55, 0x1d, 19], &basic)].concat();
        let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let tbs = tlv(
            0x30,
            &[
                tlv(0xa0, &tlv(2, &[2])),
                tlv(2, &[5]),
                algorithm.clone(),
                name(issuer.0),
                tlv(0x30, &[tlv(0x17, b"260101000000Z"), tlv(0x17, b"300101000000Z")].concat()),
                name(subject),
                key,
                tlv(0xa3, &tlv(0x30, &extensions)),
            ]
            .concat(),
        );
        let signature = issuer.1.0.sign(&SystemRandom::new(), &tbs).unwrap();
        tlv(0x30, &[tbs, algorithm, tlv(3, &[&[0], signature.as_ref()].concat())].concat())
    }
}

impl Signer for Key {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaP256Sha256
    }

    fn public_key_der(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signed = self.0.sign(&SystemRandom::new(), message);
        signed.map(|bytes| bytes.as_ref().to_vec()).map_err(|e| SignError(e.to_string()))
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=127 => vec![short as u8],
        long @ 128..=255 => vec![0x81, long as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag], length.as_slice(), content].concat()
}

/// The other signature of the same bytes and key: (r, n − s), on P-256 (FIPS 186-5, section 6.4).
fn mirrored(certificate: &[u8]) -> Vec<u8> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let signature = parsed.signature_value.data.to_vec();
    let r_length = usize::from(signature[3]);
    let (r, s) = (&signature[4..4 + r_length], &signature[6 + r_length..]);
    let wide = |bytes: &[u8]| {
        let skipped: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        [vec![0; 32 - skipped.len()], skipped].concat()
    };
    let (mut difference, mut borrow) = (wide(&hex::decode(ORDER).unwrap()), 0i16);
    for (at, byte) in wide(s).iter().enumerate().rev() {
        let left = i16::from(difference[at]) - i16::from(*byte) - borrow;
        borrow = i16::from(left < 0);
        difference[at] = left.rem_euclid(256) as u8;
    }
    let other = crate::ecdsa::signature_der(r, &difference);
    let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let signed = parsed.tbs_certificate.as_ref();
    tlv(0x30, &[signed, &algorithm, &tlv(3, &[&[0], other.as_slice()].concat())].concat())
}

/// A ban of a node would mean nothing otherwise.
#[test]
fn law_l4_another_signature_is_the_same_certificate() {
    let (roots, proof) = node_of_an_authority();
    let (domain, attestor) = (td(), attestor("x509pop").unwrap());
    let given = given(&domain, &roots);
    let proved = |proof: &X509PopProof<Key>| {
        let Ok(Step::Challenge(challenge, waiting)) = attestor.begin(&proof.payload(&session()).unwrap(), &given)
        else {
            panic!("the certificate is valid");
        };
        let answer = proof.answer(&challenge, &session()).unwrap();
        let Ok(Step::Proved(proved)) = waiting.go_on(&answer, &given) else { panic!("its key is proved") };
        proved
    };
    let first = proved(&proof);
    let twisted = X509PopProof { chain: vec![mirrored(&proof.chain[0])], key: proof.key };
    let second = proved(&twisted);
    assert_ne!(first.id(), second.id());
    assert_eq!(first.device().unwrap().key, second.device().unwrap().key);
}

/// An authority's certificate, and the proof of a node that has one of its.
fn node_of_an_authority() -> (Vec<Vec<u8>>, X509PopProof<Key>) {
    let (authority, key) = (Key::new(), Key::new());
    let root = authority.certificate(true, ("authority", &authority), "authority");
    let leaf = key.certificate(false, ("authority", &authority), "node");
    (vec![root], X509PopProof { chain: vec![leaf], key })
}

fn challenged(proof: &impl NodeProof, anchors: &[Vec<u8>]) -> (Vec<u8>, Box<dyn Conversation>) {
    let payload = proof.payload(&session()).unwrap();
    match attestor("x509pop").unwrap().begin(&payload, &given(&td(), anchors)) {
        Ok(Step::Challenge(challenge, next)) => (challenge, next),
        Ok(_) => panic!("a certificate is challenged"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_node_proves_its_certificate_key() {
    let (roots, proof) = node_of_an_authority();
    let (challenge, next) = challenged(&proof, &roots);
    let answer = proof.answer(&challenge, &session()).unwrap();
    let Ok(Step::Proved(proved)) = next.go_on(&answer, &given(&td(), &roots)) else { panic!("not proved") };
    assert!(proved.id().path().starts_with("/spire/agent/x509pop/") && proved.can_reattest() && proof.can_repeat());
    let piece = &proved.evidence().pieces()[0];
    assert_eq!((piece.class().name, piece.measured_at()), ("x509pop", NOW));
    assert_eq!(piece.ends_at(), Some(UnixTime::from_seconds(1_893_456_000)), "the end of its certificate");
    assert!(piece.selectors().iter().any(|selector| selector.to_string() == "x509pop:subject:cn:node"));
}

#[test]
fn law_l4_an_answer_serves_one_challenge() {
    let (roots, proof) = node_of_an_authority();
    let (first, _) = challenged(&proof, &roots);
    let (_, second) = challenged(&proof, &roots);
    let replayed = proof.answer(&first, &session()).unwrap();
    assert!(second.go_on(&replayed, &given(&td(), &roots)).is_err());
    let (challenge, next) = challenged(&proof, &roots);
    let stranger = X509PopProof { chain: proof.chain.clone(), key: Key::new() };
    let forged = stranger.answer(&challenge, &session()).unwrap();
    assert!(next.go_on(&forged, &given(&td(), &roots)).is_err());
}

#[test]
fn without_authorities_no_certificate_is_taken() {
    let (_, proof) = node_of_an_authority();
    let payload = proof.payload(&session()).unwrap();
    let refused = attestor("x509pop").unwrap().begin(&payload, &given(&td(), &[])).err().unwrap();
    assert_eq!(refused.to_string(), "node attestation by certificate is not set up here (`--x509pop-ca`)");
    let (others, _) = node_of_an_authority();
    assert!(attestor("x509pop").unwrap().begin(&payload, &given(&td(), &others)).is_err());
}

#[test]
fn stored_evidence_keeps_class_and_selectors() {
    let selectors = |text: &str| [Selector::parse(text).unwrap()].into();
    let stored = node_evidence("x509pop", NOW, Some(NOW), selectors("x509pop:subject:cn:a")).unwrap();
    assert_eq!(stored.sources(EvidenceClass::Node), "x509pop/1");
    assert_eq!(stored.ends_at(), Some(NOW));
    assert!(node_evidence("psat", NOW, None, SelectorSet::new()).is_err());
    assert!(node_evidence("unix", NOW, None, SelectorSet::new()).is_err(), "of processes");
    assert!(node_evidence("join_token", NOW, None, selectors("x509pop:subject:cn:a")).is_err());
}

#[test]
fn attestors_have_names_of_their_own() {
    let names: BTreeSet<_> = ATTESTORS.iter().map(|attestor| attestor.class().name).collect();
    assert_eq!(names.len(), ATTESTORS.len());
    assert!(ATTESTORS.iter().all(|attestor| attestor.class().about == EvidenceClass::Node));
}
