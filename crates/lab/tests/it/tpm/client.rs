//! Our client, and what it brings, judged by our verifier.

use std::time::Instant;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::tpm::{
    CredentialSeed, Expected, PcrSelection, QuotedState, Signed, TpmClaims, TpmEvidence, TpmRefusal, make_credential,
    verify,
};
use sekisho_tpm::{Key, NodeTpm, StoredKey, Template, Tpm, TpmError, TpmSigner};
use sekisho_types::{Secret, Signer as _};

use super::{ISSUER, ROOT, Software, now};

const NONCE: &[u8] = b"a nonce of the server's";
const ALL: [u8; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14];

/// The keys of a node: endorsement, attestation, and one for an SVID.
struct Node {
    certificate: Vec<u8>,
    endorsement: Key,
    attestation: Key,
    svid: Key,
}

impl Node {
    fn new(tpm: &mut Tpm, template: Template) -> Self {
        let certificate = tpm.ek_certificate(template).unwrap().expect("swtpm_setup makes one");
        // Without a resource manager a TPM has space for three objects.
        let root = tpm.primary(Template::StorageRoot).unwrap();
        let stored = tpm.create(&root, Template::Svid).unwrap();
        let svid = tpm.load(&root, &stored).unwrap();
        tpm.flush(root).unwrap();
        let (endorsement, attestation) = (tpm.primary(template).unwrap(), tpm.primary(Template::Attestation).unwrap());
        Self { certificate, endorsement, attestation, svid }
    }

    fn evidence(&self, tpm: &mut Tpm, software: &Software) -> Result<TpmClaims, TpmRefusal> {
        let selection = PcrSelection::new(Sha256, ALL);
        let quote = tpm.quote(&self.attestation, NONCE, selection).unwrap();
        let certify = tpm.certify(&self.svid, &self.attestation, NONCE).unwrap();
        let pcrs = tpm.read_pcrs(selection).unwrap();
        let evidence = TpmEvidence {
            ek_certificate: &self.certificate,
            ek_chain: &software.certificates(ISSUER),
            ek_public: &self.endorsement.public_bytes,
            ak_public: &self.attestation.public_bytes,
            state: QuotedState {
                quote: Signed { attest: &quote.attest, signature: &quote.signature },
                pcrs: &pcrs,
                event_log: None,
                ima_log: None,
            },
            certified: Some((
                &self.svid.public_bytes,
                Signed { attest: &certify.attest, signature: &certify.signature },
            )),
        };
        let expected = Expected {
            nonce: NONCE,
            selection: Some(selection),
            logged: &[],
            needs_safe_clock: false,
            ima_state: None,
            ima_digests: None,
        };
        let roots = software.certificates(ROOT);
        verify(&evidence, &expected, &roots, now()).map(|claims| claims.into_inner())
    }
}

#[test]
fn a_software_tpm_proves_itself() {
    let Some(software) = Software::new() else { return };
    let mut tpm = software.connect();
    for template in [Template::EkRsa2048, Template::EkP384] {
        let node = Node::new(&mut tpm, template);
        let claims = node.evidence(&mut tpm, &software).unwrap();
        assert_eq!(claims.endorsement.model, "swtpm");
        assert!(claims.state.counters_are_true);
        assert_eq!(claims.key.unwrap().name, node.svid.public.name());

        let secret = [7; 32];
        let seed = CredentialSeed { bytes: &[0x5a; 48] };
        let name = node.attestation.public.name();
        let made = make_credential(&node.endorsement.public, &name, &secret, seed).unwrap();
        let activate = |tpm: &mut Tpm, by: &Key| {
            tpm.activate_credential(&node.endorsement, by, &made.credential, &made.encrypted_seed)
        };
        assert_eq!(activate(&mut tpm, &node.attestation).unwrap(), secret);
        let other = activate(&mut tpm, &node.svid).unwrap_err();
        assert!(matches!(other, TpmError::Refused { code: 0x1df, .. }), "{other}");
        for key in [node.endorsement, node.attestation, node.svid] {
            tpm.flush(key).unwrap();
        }
    }
}

#[test]
fn a_restricted_key_signs_no_forged_quote() {
    let Some(software) = Software::new() else { return };
    let mut tpm = software.connect();
    let attestation = tpm.primary(Template::Attestation).unwrap();
    let refused = tpm.sign(&attestation, &Sha256.digest([&b"\xffTCG\x80\x18"[..]])).unwrap_err();
    assert!(matches!(refused, TpmError::Refused { code: 0x3e0, .. }), "{refused}");
}

#[test]
fn keys_are_the_same_after_a_reboot() {
    let Some(mut software) = Software::new() else { return };
    let mut tpm = software.connect();
    let before = Node::new(&mut tpm, Template::EkRsa2048);
    let first = before.evidence(&mut tpm, &software).unwrap();
    drop(tpm);
    software.reboot();
    let mut tpm = software.connect();
    let after = Node::new(&mut tpm, Template::EkRsa2048);
    assert_eq!(before.endorsement.public_bytes, after.endorsement.public_bytes);
    assert_eq!(before.attestation.public_bytes, after.attestation.public_bytes);
    let second = after.evidence(&mut tpm, &software).unwrap();
    assert!(first.state.clock.safe && !second.state.clock.safe, "the power was lost");
    assert_eq!(second.state.clock.reset_count, first.state.clock.reset_count + 1);
}

#[test]
fn a_copied_key_is_useless_elsewhere() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let (mut one, mut other) = (one.connect(), other.connect());
    let (root, foreign) = (one.primary(Template::StorageRoot).unwrap(), other.primary(Template::StorageRoot).unwrap());
    let stored = one.create(&root, Template::Svid).unwrap();
    one.load(&root, &stored).unwrap();
    let refused = other.load(&foreign, &stored).unwrap_err();
    assert!(matches!(refused, TpmError::Refused { command: "TPM2_Load", .. }), "{refused}");
}

#[test]
fn a_sealed_secret_opens_with_its_tpm_only() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let at = |software: &Software| {
        drop(software.connect());
        NodeTpm::at(&software.socket()).unwrap()
    };
    let (one, other) = (at(&one), at(&other));
    let sealed = one.seal(&Secret::new(vec![7; 32])).unwrap();
    let copied = StoredKey::from_bytes(&sealed.to_bytes()).unwrap();
    assert_eq!(copied, sealed);
    assert_eq!(one.unseal(&copied).unwrap().expose(), &[7; 32]);
    assert!(other.unseal(&copied).err().unwrap().is_foreign());
    let changed = StoredKey { private: copied.private.iter().map(|byte| byte ^ 1).collect(), ..copied };
    assert!(one.unseal(&changed).is_err());
    one.unseal(&sealed).unwrap();
}

#[test]
fn signatures_verify_with_the_public_key() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let signer = TpmSigner::generate(&NodeTpm::at(&software.socket()).unwrap()).unwrap();
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, signer.public_key_der()).unwrap();
    let started = Instant::now();
    for message in 0..20u8 {
        public.verify_sig(&[message], &signer.sign(&[message]).unwrap()).unwrap();
    }
    println!("a signature by the software TPM: {:?}", started.elapsed() / 20);
}
