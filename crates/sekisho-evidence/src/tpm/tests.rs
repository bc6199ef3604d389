use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use x509_parser::prelude::FromDer as _;

use super::*;
use crate::HashAlgorithm::Sha256;

const AK: u32 = 0x0005_0072;
const NONCE: &[u8] = b"nonce";

/// A software key that signs what it is given, as a TPM's attestation key would.
struct Signer {
    pair: EcdsaKeyPair,
    attributes: u32,
}

impl Signer {
    fn new(attributes: u32) -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), attributes }
    }

    fn public(&self) -> Public {
        Public::parse(&self.public_bytes()).unwrap()
    }

    /// An ECC key on P-256 that signs ECDSA with SHA-256.
    fn public_bytes(&self) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let mut out = [0x00, 0x23, 0x00, 0x0b].to_vec();
        out.extend(self.attributes.to_be_bytes());
        // No policy, no symmetric algorithm, ECDSA with SHA-256, P-256, no derivation.
        out.extend([0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10, 0, 32]);
        out.extend(&point[1..33]);
        out.extend([0, 32]);
        out.extend(&point[33..]);
        out
    }

    #[expect(clippy::disallowed_methods, reason = "a test's key signs with random numbers")]
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message).unwrap();
        let mut out = [0x00, 0x18, 0x00, 0x0b, 0, 32].to_vec();
        out.extend(&signature.as_ref()[..32]);
        out.extend([0, 32]);
        out.extend(&signature.as_ref()[32..]);
        out
    }
}

/// The parts of a quote over PCRs 0 and 10 of the SHA-256 bank.
#[derive(Clone)]
struct Quote {
    magic: u32,
    kind: u16,
    nonce: Vec<u8>,
    safe: u8,
    selected: [u8; 3],
    digest: Vec<u8>,
}

fn pcrs() -> PcrValues {
    PcrValues { bank: Sha256, values: BTreeMap::from([(0, vec![7; 32]), (10, vec![0; 32])]) }
}

fn quote() -> Quote {
    let digest = pcrs().digest(PcrSelection::new(Sha256, [0, 10]), Sha256).unwrap();
    Quote { magic: 0xff54_4347, kind: 0x8018, nonce: NONCE.to_vec(), safe: 1, selected: [1, 4, 0], digest }
}

impl Quote {
    fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_be_bytes().to_vec();
        out.extend(self.kind.to_be_bytes());
        out.extend([0, 0]);
        out.extend(u16::try_from(self.nonce.len()).unwrap().to_be_bytes());
        out.extend(&self.nonce);
        // Clock, resets, restarts.
        out.extend([0; 16]);
        out.push(self.safe);
        out.extend([0; 8]);
        out.extend([0, 0, 0, 1, 0, 0x0b, 3]);
        out.extend(self.selected);
        out.extend([0, 32]);
        out.extend(&self.digest);
        out
    }
}

fn judge(signer: &Signer, quote: &Quote, expected: &Expected<'_>) -> Result<StateClaims, TpmRefusal> {
    let attest = quote.bytes();
    let signature = signer.sign(&attest);
    let state = QuotedState {
        quote: Signed { attest: &attest, signature: &signature },
        pcrs: &pcrs(),
        event_log: None,
        ima_log: None,
    };
    verify_state(&signer.public(), &state, expected).map(|claims| claims.into_inner())
}

fn expected() -> Expected<'static> {
    let selection = Some(PcrSelection::new(Sha256, [0, 10]));
    Expected { nonce: NONCE, selection, logged: &[], needs_safe_clock: true, ima_state: None, ima_digests: None }
}

#[test]
fn a_quote_for_our_nonce_is_verified() {
    let claims = judge(&Signer::new(AK), &quote(), &expected()).unwrap();
    assert_eq!(claims.selection.indices().collect::<Vec<_>>(), [0, 10]);
    assert!(!claims.counters_are_true, "its signer names no hierarchy");
}

#[test]
fn cve_2021_3406_each_missing_attribute_is_refused() {
    for (bit, name) in
        [(1, "fixedTPM"), (4, "fixedParent"), (5, "sensitiveDataOrigin"), (16, "restricted"), (18, "sign")]
    {
        let refused = judge(&Signer::new(AK & !(1 << bit)), &quote(), &expected());
        assert_eq!(refused, Err(TpmRefusal::AttestationKeyLacks(name)));
    }
}

#[test]
fn a_key_that_may_decrypt_attests_nothing() {
    for bits in [AK | 1 << 17, AK | 1 << 3, AK | 1 << 31] {
        assert_eq!(judge(&Signer::new(bits), &quote(), &expected()), Err(TpmRefusal::AttestationKeyMay));
    }
}

#[test]
fn cve_2026_6420_another_challenge_is_refused() {
    for nonce in [&b"nonc"[..], b"nonce!", b"", b"NONCE"] {
        let quote = Quote { nonce: nonce.to_vec(), ..quote() };
        assert_eq!(judge(&Signer::new(AK), &quote, &expected()), Err(TpmRefusal::QuoteNonce));
    }
}

#[test]
fn ghsa_99cg_pcrs_outside_the_quote_are_refused() {
    // It covers PCR 0 only; the value of PCR 10 would be the node's word.
    let digest = pcrs().digest(PcrSelection::new(Sha256, [0]), Sha256).unwrap();
    let quote = Quote { selected: [1, 0, 0], digest, ..quote() };
    assert_eq!(judge(&Signer::new(AK), &quote, &expected()), Err(TpmRefusal::Selection));
}

#[test]
fn a_clock_that_went_back_is_refused() {
    let (signer, quote) = (Signer::new(AK), Quote { safe: 0, ..quote() });
    assert_eq!(judge(&signer, &quote, &expected()), Err(TpmRefusal::ClockNotSafe));
    let tolerant = Expected { needs_safe_clock: false, ..expected() };
    assert!(!judge(&signer, &quote, &tolerant).unwrap().clock.safe);
}

#[test]
fn other_pcr_values_are_refused() {
    let quote = Quote { digest: vec![1; 32], ..quote() };
    assert_eq!(judge(&Signer::new(AK), &quote, &expected()), Err(TpmRefusal::PcrDigest));
}

#[test]
fn only_what_a_tpm_made_is_read() {
    for wrong in
        [Quote { magic: 0xff54_4346, ..quote() }, Quote { kind: 0x8019, ..quote() }, Quote { safe: 2, ..quote() }]
    {
        let refused = judge(&Signer::new(AK), &wrong, &expected()).unwrap_err();
        assert!(matches!(refused, TpmRefusal::Malformed(_)), "{refused}");
    }
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let (one, other) = (Signer::new(AK), Signer::new(AK));
    let attest = quote().bytes();
    let signature = TpmSignature::parse(&other.sign(&attest)).unwrap();
    assert_eq!(signature.verify(&one.public(), &attest), Err(SignatureError::Wrong));
    assert_eq!(signature.verify(&other.public(), &attest), Ok(()));
}

#[test]
fn every_changed_byte_of_a_quote_is_refused() {
    let signer = Signer::new(AK);
    let (attest, public) = (quote().bytes(), signer.public());
    let signature = signer.sign(&attest);
    for at in 0..attest.len() {
        let mut changed = attest.clone();
        changed[at] ^= 1;
        let state = QuotedState {
            quote: Signed { attest: &changed, signature: &signature },
            pcrs: &pcrs(),
            event_log: None,
            ima_log: None,
        };
        let refused = verify_state(&public, &state, &expected()).map(|_| ()).unwrap_err();
        assert!(refused.is_signature(), "byte {at}: {refused}");
    }
}

#[test]
fn cut_structures_are_refused_at_each_length() {
    let signer = Signer::new(AK);
    let attest = quote().bytes();
    let signature = signer.sign(&attest);
    let public = signer.public_bytes();
    for at in 0..public.len() {
        Public::parse(&public[..at]).unwrap_err();
    }
    for at in 0..attest.len() {
        Attest::parse(&attest[..at]).unwrap_err();
    }
    for at in 0..signature.len() {
        TpmSignature::parse(&signature[..at]).unwrap_err();
    }
    Public::parse(&[public, vec![0]].concat()).unwrap_err();
}

#[test]
fn a_name_follows_the_public_area() {
    let (one, other) = (Signer::new(AK), Signer::new(AK & !(1 << 16)));
    let name = one.public().name();
    assert_eq!(name[..2], [0, 0x0b]);
    assert_eq!(name[2..], Sha256.digest([one.public_bytes().as_slice()]));
    assert_ne!(name, other.public().name());
}

const RESIDENT: u32 = 0x0004_0072;

/// `TPMS_ATTEST` of a certification of this Name.
fn certification(name: &[u8], nonce: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let head = [&0xff54_4347u32.to_be_bytes()[..], &[0x80, 0x17, 0, 0], &sized(nonce)].concat();
    [head, vec![0; 16], vec![1], vec![0; 8], sized(name), vec![0, 0]].concat()
}

fn certified(ak: &Signer, key: &Signer, attest: &[u8]) -> Result<CertifiedKey, TpmRefusal> {
    let signature = ak.sign(attest);
    let signed = Signed { attest, signature: &signature };
    verify_certified(&ak.public(), &key.public_bytes(), signed, NONCE)
}

#[test]
fn a_certified_key_has_its_public_key() {
    let (ak, key) = (Signer::new(AK), Signer::new(RESIDENT));
    let found = certified(&ak, &key, &certification(&key.public().name(), NONCE)).unwrap();
    let spki = found.public.spki_der().unwrap();
    let (_, parsed) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki).unwrap();
    assert_eq!(*parsed.subject_public_key.data, *key.pair.public_key().as_ref());
}

#[test]
fn a_key_that_could_leave_is_not_certified() {
    let ak = Signer::new(AK);
    let judged = |attributes| {
        let key = Signer::new(attributes);
        certified(&ak, &key, &certification(&key.public().name(), NONCE)).unwrap_err()
    };
    for (bit, name) in [(1, "fixedTPM"), (4, "fixedParent"), (5, "sensitiveDataOrigin"), (18, "sign")] {
        assert_eq!(judged(RESIDENT & !(1 << bit)), TpmRefusal::CertifiedKeyLacks(name));
    }
    for bits in [RESIDENT | 1 << 17, RESIDENT | 1 << 3, RESIDENT | 1 << 31] {
        assert_eq!(judged(bits), TpmRefusal::CertifiedKeyMay);
    }
}

#[test]
fn a_certification_is_for_one_key_and_challenge() {
    let (ak, key, other) = (Signer::new(AK), Signer::new(RESIDENT), Signer::new(RESIDENT));
    let name = key.public().name();
    assert_eq!(certified(&ak, &other, &certification(&name, NONCE)), Err(TpmRefusal::OtherCertifiedKey));
    assert_eq!(certified(&ak, &key, &certification(&name, b"old")), Err(TpmRefusal::CertifyNonce));
    assert_eq!(certified(&ak, &key, &quote().bytes()), Err(TpmRefusal::NotACertification));
    let (attest, forger) = (certification(&name, NONCE), Signer::new(AK));
    let signature = forger.sign(&attest);
    let signed = Signed { attest: &attest, signature: &signature };
    let refused = verify_certified(&ak.public(), &key.public_bytes(), signed, NONCE).unwrap_err();
    assert_eq!(refused, TpmRefusal::CertifySignature(SignatureError::Wrong));
}

#[test]
fn a_credential_needs_a_storage_key() {
    // An attestation key has no symmetric algorithm: nothing can be encrypted to it.
    let key = Signer::new(AK).public();
    let seed = CredentialSeed { bytes: &[3; 48] };
    assert_eq!(make_credential(&key, &key.name(), &[1; 32], seed), Err(CredentialError::Unsupported));
    assert_eq!(make_credential(&key, &key.name(), &[1; 33], seed), Err(CredentialError::Secret));
}
