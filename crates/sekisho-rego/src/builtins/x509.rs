//! `crypto.x509.*`: certificates and requests as the objects that Go's `encoding/json` makes of them.

use x509_parser::prelude::FromDer;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::der::pem;
use super::encoding::from_base64;
use super::keys::{from_spki, spki_of};
use super::operand::{object, string};
use super::private_keys::{from_block, go_json, public_part};
use super::x509_json::{certificate, request};
use super::x509_verify::{Options, verified_chain};
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("crypto.x509.parse_certificates", parse_certificates),
    ("crypto.x509.parse_certificate_request", parse_request),
    ("crypto.x509.parse_keypair", parse_keypair),
    ("crypto.x509.parse_and_verify_certificates", |cx, args| verify(cx, args, |now| Ok(Options::new(now)), true)),
    ("crypto.x509.parse_and_verify_certificates_with_options", |cx, args| {
        let options = object(args, 1)?;
        verify(cx, args, |now| Options::read(now, options), false)
    }),
];

/// Certificates read from one text.
const MAX_CERTIFICATES: usize = 100;

/// The certificates of a text: PEM, base64 of PEM, or base64 of DER.
fn certificates(cx: &mut Context, text: &str) -> Result<Vec<Vec<u8>>, BuiltinError> {
    cx.spend(text.len().saturating_mul(16))?;
    let mut der = Vec::new();
    if text.starts_with("-----BEGIN") {
        from_pem(text, &mut der)?;
    } else {
        let bytes = from_base64(text)?;
        match std::str::from_utf8(&bytes).ok().filter(|text| text.starts_with("-----BEGIN")) {
            Some(text) => from_pem(text, &mut der)?,
            None => der = bytes,
        }
    }
    let (mut out, mut rest) = (Vec::new(), der.as_slice());
    while !rest.is_empty() {
        let malformed = || failure("x509: malformed certificate");
        let (after, _) = x509_parser::parse_x509_certificate(rest).map_err(|_| malformed())?;
        let (one, _) = rest.split_at_checked(rest.len() - after.len()).ok_or_else(malformed)?;
        out.push(one.to_vec());
        if out.len() > MAX_CERTIFICATES {
            return Err(failure("too many certificates"));
        }
        rest = after;
    }
    Ok(out)
}

fn from_pem(text: &str, der: &mut Vec<u8>) -> Result<(), BuiltinError> {
    let mut rest = text;
    while let Some(block) = pem(rest) {
        if block.label != "CERTIFICATE" {
            return Err(failure(format!("PEM block type is '{}', expected CERTIFICATE", block.label)));
        }
        der.extend(block.bytes);
        rest = block.rest;
    }
    Ok(())
}

fn objects(ders: &[Vec<u8>], extended: bool) -> Result<Value, BuiltinError> {
    let one = |der: &Vec<u8>| certificate(der, extended).ok_or_else(|| failure("x509: malformed certificate"));
    Ok(Value::from(ders.iter().map(one).collect::<Result<Vec<_>, _>>()?))
}

fn parse_certificates(cx: &mut Context, args: &[Value]) -> Outcome {
    let ders = certificates(cx, string(args, 0)?)?;
    done(objects(&ders, true)?)
}

/// The options are read where there are certificates to verify.
fn verify(
    cx: &mut Context,
    args: &[Value],
    options: impl FnOnce(i64) -> Result<Options, BuiltinError>,
    extended: bool,
) -> Outcome {
    let refused = || done(vec![Value::from(false), Value::from(Vec::new())]);
    let ders = match certificates(cx, string(args, 0)?) {
        Err(error) if error.is_fatal() => return Err(error),
        Err(_) => return refused(),
        Ok(ders) => ders,
    };
    let options = options(cx.now_ns)?;
    match verified_chain(cx, &ders, &options)? {
        Some(chain) => done(vec![Value::from(true), objects(&chain, extended)?]),
        None => refused(),
    }
}

/// A text in PEM, or in base64.
fn pem_or_base64(text: &str, label: &str) -> Result<Vec<u8>, BuiltinError> {
    let decoded = if text.starts_with("-----BEGIN") { text.as_bytes().to_vec() } else { from_base64(text)? };
    match std::str::from_utf8(&decoded).ok().and_then(pem) {
        None => Ok(decoded),
        Some(block) if block.label == label => Ok(block.bytes),
        Some(_) => Err(failure(format!("invalid PEM-encoded {}", label.to_lowercase()))),
    }
}

fn parse_request(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(16))?;
    let der = pem_or_base64(text, "CERTIFICATE REQUEST")?;
    let wrong = || failure("asn1: structure error: malformed certificate request");
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&der).map_err(|_| wrong())?;
    done(request(&parsed))
}

fn parse_keypair(cx: &mut Context, args: &[Value]) -> Outcome {
    let ders = certificates(cx, string(args, 0)?)?;
    let text = string(args, 1)?;
    cx.spend(text.len().saturating_mul(16))?;
    let wrong = |what: &str| failure(format!("tls: {what}"));
    let decoded = if text.starts_with("-----BEGIN") { text.as_bytes().to_vec() } else { from_base64(text)? };
    let key = match std::str::from_utf8(&decoded).ok().and_then(pem) {
        Some(block) => from_block(block.label, &block.bytes)?,
        None => from_block("PRIVATE KEY", &decoded)?,
    };
    let key = key.ok_or_else(|| wrong("failed to find a private key in the input"))?;
    let leaf = ders.first().ok_or_else(|| wrong("failed to find a certificate in the input"))?;
    let public = spki_of(leaf).and_then(|spki| from_spki(&spki));
    if public.is_none() || public != public_part(&key) {
        return Err(wrong("private key does not match public key"));
    }
    let chain: Vec<Value> = ders.iter().map(|der| super::x509_json::base64(der)).collect();
    let leaf = certificate(leaf, false).ok_or_else(|| wrong("malformed certificate"))?;
    let members = vec![
        ("Certificate", Value::from(chain)),
        ("PrivateKey", go_json(&key).unwrap_or_default()),
        ("SupportedSignatureAlgorithms", Value::Null),
        ("OCSPStaple", Value::Null),
        ("SignedCertificateTimestamps", Value::Null),
        ("Leaf", leaf),
    ];
    done(members.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Object>())
}
