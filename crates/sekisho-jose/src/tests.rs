use std::collections::BTreeSet;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho_types::{SpiffeId, UnixTime};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

static KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());

fn key(key_id: &str) -> TokenKey {
    let der: PublicKeyX509Der<'_> = KEY.public_key().as_der().unwrap();
    TokenKey { key_id: key_id.into(), public_key: der.as_ref().to_vec() }
}

fn signed(input: &str) -> String {
    let signature = KEY.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    token(input, signature.as_ref()).unwrap()
}

fn subject() -> SpiffeId {
    SpiffeId::parse("spiffe://td.example/till").unwrap()
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k", "typ": "JWT"})
}

fn payload() -> Value {
    json!({"aud": ["bank"], "exp": NOW + 300, "iat": NOW, "jti": "1", "sub": "spiffe://td.example/till"})
}

fn written(header: &Value, payload: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    signed(&format!("{}.{}", part(header), part(payload)))
}

fn verify_by(token: &str, change: impl FnOnce(&mut Rules<'_>)) -> Result<JwtSvid, JwtError> {
    let revoked = BTreeSet::from(["revoked".to_owned()]);
    let mut rules = Rules {
        audience: "bank",
        only_audience: false,
        issuer: None,
        revoked_token_ids: &revoked,
        now: UnixTime::from_seconds(NOW),
        leeway_seconds: 0,
        max_life_seconds: 300,
    };
    change(&mut rules);
    verify_jwt_svid(token, &[key("other"), key("k")], &rules).map(sekisho_types::Verified::into_inner)
}

fn verify(token: &str) -> Result<JwtSvid, JwtError> {
    verify_by(token, |_| {})
}

/// The same token with some members of its payload changed, or without those that are null.
fn with(changes: Value) -> String {
    let mut changed = payload();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            changed.as_object_mut().unwrap().remove(name);
        } else {
            changed[name] = value.clone();
        }
    }
    written(&header(), &changed)
}

#[test]
fn what_was_minted_is_what_is_verified() {
    let (subject, audience) = (subject(), ["bank".to_owned(), "shop".to_owned()]);
    let mint = Mint {
        key_id: "k",
        subject: &subject,
        audience: &audience,
        issued_at: UnixTime::from_seconds(NOW),
        expires_at: UnixTime::from_seconds(NOW + 300),
        jti: Some("1"),
        own_claim: Some(("sekisho_issuance", json!({"revision": 3}))),
    };
    let token = signed(&signing_input(&mint));
    assert_eq!(*claims_unverified(&token).unwrap().unverified(), subject);
    let verified = verify(&token).unwrap();
    assert_eq!((&verified.subject, verified.expires_at), (&subject, mint.expires_at));
    assert_eq!(verified.issued_at, Some(mint.issued_at));
    assert_eq!(verified.claims["sekisho_issuance"]["revision"], 3);
    assert_eq!(verified.claims["jti"], "1");
}

#[test]
fn law_l3_a_header_beyond_the_closed_list_is_refused() {
    let changed = |name: &str, value: Value| {
        let mut header = header();
        header[name] = value;
        verify(&written(&header, &payload()))
    };
    for algorithm in ["none", "HS256", "EdDSA", "es256", ""] {
        assert_eq!(changed("alg", algorithm.into()), Err(JwtError::Algorithm), "{algorithm}");
    }
    // A key of another kind under the right name.
    assert_eq!(changed("alg", "ES384".into()), Err(JwtError::Signature));
    for member in ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"] {
        assert_eq!(changed(member, "x".into()), Err(JwtError::Header), "{member}");
    }
    assert_eq!(changed("typ", "at+jwt".into()), Err(JwtError::Type));
    assert_eq!(changed("kid", "unknown".into()), Err(JwtError::UnknownKey));
    assert_eq!(changed("kid", 1.into()), Err(JwtError::Header));
    assert_eq!(verify(&written(&json!({"alg": "ES256"}), &payload())), Err(JwtError::NoKeyId));
}

#[test]
fn law_l2_a_changed_byte_is_refused() {
    let token = with(json!({}));
    verify(&token).unwrap();
    let other = with(json!({"sub": "spiffe://td.example/admin"}));
    let (head, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(verify(&format!("{head}.{signature}")), Err(JwtError::Signature));
    for at in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(verify(&String::from_utf8(bytes).unwrap()).is_err(), "byte {at}");
    }
}

#[test]
fn a_token_of_another_form_is_refused() {
    let token = with(json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    for other in [
        String::new(),
        parts[..2].join("."),
        format!("{token}."),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        format!(" {token}"),
        format!("{}.{}.", parts[0], parts[1]),
        json!({"payload": parts[1], "signature": parts[2]}).to_string(),
    ] {
        assert!(verify(&other).is_err(), "{other}");
    }
    let repeated = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"none","kid":"k"}"#);
    assert!(matches!(verify(&signed(&format!("{repeated}.{}", parts[1]))), Err(JwtError::Json(_))));
    let long = with(json!({"pad": "x".repeat(16 * 1024)}));
    assert_eq!(verify(&long), Err(JwtError::TooLong));
}

#[test]
fn a_subject_has_one_form() {
    for subject in [
        json!(null),
        json!(""),
        json!("spiffe://td.example"),
        json!("spiffe://TD.example/till"),
        json!("https://td.example/till"),
        json!(["spiffe://td.example/till"]),
    ] {
        assert_eq!(verify(&with(json!({"sub": subject}))), Err(JwtError::Subject), "{subject}");
    }
}

#[test]
fn an_audience_has_to_be_named() {
    for audience in [json!(null), json!("shop"), json!([]), json!(["Bank"]), json!(["bank", 1]), json!({"bank": 1})] {
        assert_eq!(verify(&with(json!({"aud": audience}))), Err(JwtError::Audience), "{audience}");
    }
    verify(&with(json!({"aud": "bank"}))).unwrap();
    let two = with(json!({"aud": ["bank", "shop"]}));
    verify(&two).unwrap();
    assert_eq!(verify_by(&two, |rules| rules.only_audience = true), Err(JwtError::Audience));
}

#[test]
fn law_l7_a_token_is_good_for_its_time_only() {
    for (changes, wanted) in [
        (json!({"exp": null}), JwtError::NoExpiry),
        (json!({"exp": "soon"}), JwtError::NoExpiry),
        (json!({"exp": NOW}), JwtError::Expired),
        (json!({"exp": NOW + 301}), JwtError::LivesTooLong),
        (json!({"exp": NOW + 301, "iat": null}), JwtError::LivesTooLong),
        (json!({"iat": NOW + 1}), JwtError::NotYetValid),
        (json!({"nbf": NOW + 1}), JwtError::NotYetValid),
        (json!({"iat": "now"}), JwtError::ClaimType("iat")),
    ] {
        assert_eq!(verify(&with(changes.clone())), Err(wanted), "{changes}");
    }
    let late = with(json!({"exp": NOW, "iat": NOW - 10}));
    verify_by(&late, |rules| rules.leeway_seconds = 5).unwrap();
    verify(&with(json!({"exp": NOW as f64 + 10.5}))).unwrap();
}

#[test]
fn an_issuer_and_a_revoked_token_are_refused() {
    let issuer = |token: &str| verify_by(token, |rules| rules.issuer = Some("https://issuer.example"));
    assert_eq!(issuer(&with(json!({}))), Err(JwtError::Issuer));
    assert_eq!(issuer(&with(json!({"iss": "https://issuer.example/"}))), Err(JwtError::Issuer));
    issuer(&with(json!({"iss": "https://issuer.example"}))).unwrap();
    assert_eq!(verify(&with(json!({"iss": 1}))), Err(JwtError::ClaimType("iss")));
    assert_eq!(verify(&with(json!({"jti": "revoked"}))), Err(JwtError::Revoked));
}

#[test]
fn only_a_p256_signature_makes_a_token() {
    let good = KEY.sign(&SystemRandom::new(), b"a.b").unwrap();
    let good = good.as_ref();
    assert!(token("a.b", good).is_some());
    for cut in 0..good.len() {
        assert!(token("a.b", &good[..cut]).is_none(), "{cut}");
    }
    let longer = [good, &[0]].concat();
    // Of 33 bytes that do not begin with a zero.
    let wide = [&[0x30, 38, 2, 33][..], &[1; 33], &[2, 1, 1]].concat();
    let other_tag = [&[0x30, 6, 3, 1, 1][..], &[2, 1, 1]].concat();
    assert!([longer, wide, other_tag].iter().all(|der| token("a.b", der).is_none()));
}
