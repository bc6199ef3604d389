//! What SPIRE's agents send for `tpm_devid`, made with a software TPM whose certificate names another model.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_evidence::node::{NodeError, Proved, Session, Step, VerifierInputs, attestor};
use sekisho_keys::MemoryKey;
use sekisho_tpm::{NodeTpm, Template, TpmSigner};
use sekisho_types::{SignatureAlgorithm, Signer, TrustDomain};
use serde_json::{Value, json};

use super::attestor::session;
use super::{ISSUER, Software, now};
use crate::openssl::Openssl;

/// A node with a DevID.
struct Node {
    software: Software,
    devid: TpmSigner,
    certificate: Vec<u8>,
}

impl Node {
    fn new(authority: &Openssl, model: &str) -> Option<Self> {
        let software = Software::of_model(model)?;
        drop(software.connect());
        let devid = TpmSigner::generate(&NodeTpm::at(&software.socket()).unwrap()).unwrap();
        let certificate = authority.certificate_of(devid.public_key_der(), "node-7");
        Some(Self { software, devid, certificate })
    }

    fn request(&self) -> Value {
        let mut tpm = self.software.connect();
        let ek = tpm.primary(Template::EkRsa2048).unwrap();
        let ek_public = ek.public_bytes.clone();
        tpm.flush(ek).unwrap();
        let (ak, root) = (tpm.primary(Template::Attestation).unwrap(), tpm.primary(Template::StorageRoot).unwrap());
        let key = tpm.load(&root, self.devid.stored()).unwrap();
        let certified = tpm.certify(&key, &ak, &[]).unwrap();
        let encoded = |bytes: &[u8]| BASE64.encode(bytes);
        let request = json!({
            "DevIDCert": [encoded(&self.certificate)],
            "DevIDPub": encoded(&self.devid.stored().public),
            "EKCert": encoded(&tpm.ek_certificate(Template::EkRsa2048).unwrap().unwrap()),
            "EKPub": encoded(&ek_public),
            "AKPub": encoded(&ak.public_bytes),
            "CertifiedDevID": encoded(&certified.attest),
            "CertificationSignature": encoded(&certified.signature),
        });
        for key in [key, ak, root] {
            tpm.flush(key).unwrap();
        }
        request
    }

    /// Answers both challenges. `None`: the TPM opens no credential for its attestation key.
    fn answer(&self, challenge: &[u8], by: &dyn Signer) -> Option<Value> {
        let challenge: Value = serde_json::from_slice(challenge).unwrap();
        let decoded = |value: &Value| BASE64.decode(value.as_str().unwrap()).unwrap();
        let credential = &challenge["CredActivation"];
        let mut tpm = self.software.connect();
        let (ek, ak) = (tpm.primary(Template::EkRsa2048).unwrap(), tpm.primary(Template::Attestation).unwrap());
        let opened =
            tpm.activate_credential(&ek, &ak, &decoded(&credential["Credential"]), &decoded(&credential["Secret"]));
        tpm.flush(ek).unwrap();
        tpm.flush(ak).unwrap();
        drop(tpm);
        let signature = by.sign(&decoded(&challenge["DevID"])).unwrap();
        let opened = opened.ok()?;
        Some(json!({"DevID": BASE64.encode(signature), "CredActivation": BASE64.encode(opened)}))
    }
}

struct Server {
    trust_domain: TrustDomain,
    authorities: Vec<Vec<u8>>,
    manufacturers: Vec<Vec<u8>>,
}

impl Server {
    fn given<'a>(&'a self, session: Session<'a>) -> VerifierInputs<'a> {
        VerifierInputs {
            session,
            trust_domain: &self.trust_domain,
            anchors: &self.authorities,
            manufacturers: &self.manufacturers,
            remembered: &|_| None,
            approvals: false,
            boot_policy: None,
            now: now(),
        }
    }

    fn attest(&self, request: &Value, answer: impl FnOnce(&[u8]) -> Option<Value>) -> Result<Proved, String> {
        let attestor = attestor("tpm_devid").unwrap();
        let text = |error: NodeError| error.to_string();
        let begun = attestor.begin(request.to_string().as_bytes(), &self.given(session(1, 1))).map_err(text)?;
        let Step::Challenge(challenge, conversation) = begun else { panic!("a DevID is challenged") };
        let answer = answer(&challenge).ok_or("the TPM refused")?;
        match conversation.go_on(answer.to_string().as_bytes(), &self.given(session(1, 1))).map_err(text)? {
            Step::Proved(proved) => Ok(proved),
            _ => panic!("one challenge is enough"),
        }
    }
}

#[test]
fn a_devid_of_spire_s_agents_is_accepted() {
    let authority = Openssl::new();
    let Some(node) = Node::new(&authority, "chip-1") else { return };
    let trust_domain = TrustDomain::parse("td.example").unwrap();
    let manufacturers = node.software.certificates(ISSUER);
    let mut server = Server { trust_domain, authorities: vec![authority.authority()], manufacturers };
    let request = node.request();
    let proved = server.attest(&request, |challenge| node.answer(challenge, &node.devid)).unwrap();
    assert!(proved.id().to_string().starts_with("spiffe://td.example/spire/agent/tpm_devid/"), "{}", proved.id());
    assert!(proved.can_reattest() && proved.endorsement().is_some());
    assert_eq!(proved.device().unwrap().about, "certificate of CN=node-7");
    let piece = &proved.evidence().pieces()[0];
    let texts: Vec<String> = piece.selectors().iter().map(ToString::to_string).collect();
    let authority_sha1 = format!("tpm_devid:ca:fingerprint:{}", authority.authority_sha1());
    for wanted in ["tpm_devid:subject:cn:node-7", "tpm_devid:issuer:cn:authority", &authority_sha1] {
        assert!(texts.iter().any(|text| text == wanted), "{wanted}: {texts:?}");
    }
    assert!(!piece.class().is_hardware, "it could be relayed");

    // Agents before 1.6 send one certificate in place of a list.
    let mut older = request.clone();
    older["DevIDCert"] = older["DevIDCert"][0].clone();
    server.attest(&older, |challenge| node.answer(challenge, &node.devid)).unwrap();
    for field in request.as_object().unwrap().keys() {
        let mut less = request.clone();
        less.as_object_mut().unwrap().remove(field);
        let refused = server.attest(&less, |_| None).unwrap_err();
        assert!(refused.contains(field.as_str()), "{field}: {refused}");
    }
    let authorities = std::mem::take(&mut server.authorities);
    assert!(server.attest(&request, |_| None).unwrap_err().contains("tpm-devid-ca"));
    server.authorities = authorities;
    server.manufacturers.clear();
    assert!(server.attest(&request, |_| None).unwrap_err().contains("tpm-ca"));
}

#[test]
fn a_devid_outside_the_tpm_is_refused() {
    let authority = Openssl::new();
    let Some(node) = Node::new(&authority, "chip-1") else { return };
    let Some(other) = Node::new(&authority, "chip-1") else { return };
    let manufacturers = [node.software.certificates(ISSUER), other.software.certificates(ISSUER)].concat();
    let trust_domain = TrustDomain::parse("td.example").unwrap();
    let server = Server { trust_domain, authorities: vec![authority.authority()], manufacturers };
    let refused = |request: &Value, by: &dyn Signer| {
        server
            .attest(request, |challenge| node.answer(challenge, by))
            .map(|proved| proved.id().to_string())
            .unwrap_err()
    };
    // A certificate for a key in memory, beside a key of the TPM that its attestation key certifies.
    let stolen = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let mut request = node.request();
    request["DevIDCert"] = json!([BASE64.encode(authority.certificate_of(stolen.public_key_der(), "node-7"))]);
    assert!(refused(&request, &stolen).contains("of another key"));
    // The DevID of one TPM, with the endorsement of another.
    let (request, of_other) = (node.request(), other.request());
    let mut mixed = request.clone();
    (mixed["EKCert"], mixed["EKPub"]) = (of_other["EKCert"].clone(), of_other["EKPub"].clone());
    assert_eq!(refused(&mixed, &node.devid), "the TPM refused");
    let mut mixed = request.clone();
    mixed["AKPub"] = of_other["AKPub"].clone();
    assert!(refused(&mixed, &node.devid).contains("signature"));
    // The challenge signed by another key, and a credential that was not opened.
    assert!(refused(&request, &stolen).contains("does not fit the challenge"));
    let closed = |challenge: &[u8]| {
        let mut answer = node.answer(challenge, &node.devid)?;
        answer["CredActivation"] = BASE64.encode([0; 32]).into();
        Some(answer)
    };
    assert!(server.attest(&request, closed).unwrap_err().contains("did not open the credential"));
}

#[test]
fn a_devid_in_a_software_tpm_is_refused() {
    let authority = Openssl::new();
    let Some(node) = Node::new(&authority, "swtpm") else { return };
    let (trust_domain, manufacturers) = (TrustDomain::parse("td.example").unwrap(), node.software.certificates(ISSUER));
    let server = Server { trust_domain, authorities: vec![authority.authority()], manufacturers };
    assert!(server.attest(&node.request(), |_| None).unwrap_err().contains("is a program"));
}
