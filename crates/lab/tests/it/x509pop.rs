//! Node certificates as SPIRE takes them, and those that it should not.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_evidence::{NodeCertificate, X509PopError};
use sekisho_identity::{Bundle, X509Error, verify_svid};
use sekisho_types::{TrustDomain, UnixTime, Verified};
use serde_json::json;

use crate::openssl::Openssl;
use crate::peers::clock;

const USAGE: &str = "keyUsage=critical,digitalSignature\nbasicConstraints=CA:false";
const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const DAY: i64 = 24 * 3600;

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn verify(openssl: &Openssl, leaf: &[u8], at: UnixTime) -> Result<Verified<NodeCertificate>, X509PopError> {
    let payload = json!({"certificates": [BASE64.encode(leaf)]}).to_string();
    NodeCertificate::verify(payload.as_bytes(), &[openssl.authority()], &domain(), at)
}

#[test]
fn an_expired_authority_attests_and_validates_nothing() {
    let openssl = Openssl::new();
    // It outlives its authority, which ends after two days.
    let (leaf, _) = openssl.leaf_with(P256, "-CAcreateserial -days 9", "node", USAGE);
    let certificate = verify(&openssl, &leaf, clock()).unwrap();
    // What it is good for ends with the first certificate of the path.
    let life = certificate.get().ends_at.seconds_since(clock());
    assert!((DAY..=2 * DAY).contains(&life), "{life}");
    let refused = verify(&openssl, &leaf, clock().plus_seconds(3 * DAY)).err();
    assert_eq!(refused, Some(X509PopError::NoValidAuthority));
    let san = "subjectAltName=URI:spiffe://example.org/web";
    let (leaf, _) = openssl.leaf_with(P256, "-CAcreateserial -days 9", "web", &format!("{USAGE}\n{san}"));
    let mut bundle = Bundle::empty(domain());
    bundle.add_x509(openssl.authority()).unwrap();
    let check = |at| verify_svid(std::slice::from_ref(&leaf), &bundle, at);
    check(clock()).unwrap();
    let expired = check(clock().plus_seconds(3 * DAY)).err();
    assert_eq!(expired, Some(X509Error::NoValidAuthority(domain())));
    let early = check(clock().plus_seconds(-2 * DAY)).err();
    assert_eq!(early, Some(X509Error::NoValidAuthority(domain())));
    // Beside one that is valid, the expired one still counts for nothing.
    let younger = Openssl::new();
    bundle.add_x509(younger.authority()).unwrap();
    assert!(verify_svid(std::slice::from_ref(&leaf), &bundle, clock().plus_seconds(3 * DAY)).is_err());
}

#[test]
fn x509pop_selectors_are_those_of_spire() {
    let openssl = Openssl::new();
    let names = "subjectAltName=URI:x509pop://example.org/datacenter/us-east/1,URI:x509pop://other.org/datacenter/x,\
                 URI:x509pop://example.org/onlykey,URI:https://example.org/a/b,DNS:node.example.org";
    let extensions = format!("{USAGE}\nextendedKeyUsage=serverAuth\n{names}");
    // DER writes a zero before a number whose first bit is set.
    let (leaf, _) = openssl.leaf_with(P256, "-set_serial 0x8a1b2c3d4e5f -days 1", "Node One", &extensions);
    let certificate = verify(&openssl, &leaf, clock()).unwrap();
    let selectors: Vec<String> = certificate.get().selectors.iter().map(ToString::to_string).collect();
    let authority = format!("x509pop:ca:fingerprint:{}", openssl.authority_sha1());
    let expected = [
        authority.as_str(),
        "x509pop:san:datacenter:us-east/1",
        "x509pop:serialnumber:8a1b2c3d4e5f",
        "x509pop:subject:cn:Node One",
    ];
    assert_eq!(selectors, expected);
}

#[test]
fn an_rsa_key_proves_itself_by_pss_only() {
    let openssl = Openssl::new();
    for bits in [2048, 3072] {
        let (leaf, _) = openssl.leaf_with(&format!("rsa:{bits}"), "-CAcreateserial -days 1", "node", USAGE);
        let certificate = verify(&openssl, &leaf, clock()).unwrap();
        let certificate = certificate.get();
        let (ours, theirs) = ([1u8; 32], [2u8; 32]);
        let challenge: serde_json::Value = serde_json::from_slice(&certificate.challenge(&ours)).unwrap();
        assert_eq!(challenge, json!({"rsa_signature": {"nonce": BASE64.encode(ours)}}));
        let message = [ours, theirs].concat();
        let answer = |form: &str, signature: &[u8]| {
            json!({form: {"nonce": BASE64.encode(theirs), "signature": BASE64.encode(signature)}}).to_string()
        };
        let check = |answer: String| certificate.verify_answer(&ours, answer.as_bytes());
        let good = openssl.sign_pss(&message, "max");
        check(answer("rsa_signature", &good)).unwrap();
        assert_eq!(check(answer("ecdsa_signature", &good)), Err(X509PopError::Form));
        let mut broken = good.clone();
        broken[10] ^= 1;
        assert_eq!(check(answer("rsa_signature", &broken)), Err(X509PopError::Proof));
        assert_eq!(
            certificate.verify_answer(&[3; 32], answer("rsa_signature", &good).as_bytes()),
            Err(X509PopError::Proof)
        );
        assert_eq!(check(answer("rsa_signature", &[0; 513])), Err(X509PopError::Form));
        assert_eq!(check(answer("rsa_signature", &[])), Err(X509PopError::Proof));
    }
    let (weak, _) = openssl.leaf_with("rsa:1024", "-CAcreateserial -days 1", "node", USAGE);
    assert!(verify(&openssl, &weak, clock()).is_err());
}
