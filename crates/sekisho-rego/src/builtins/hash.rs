//! `crypto.*` digests and authentication codes.

use aws_lc_rs::{constant_time, digest, hmac};

use super::context::{Context, Outcome, done};
use super::md5::md5;
use super::operand::string;
use crate::value::Value;

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("crypto.md5", |cx, args| digested(cx, args, |text| hex::encode(md5(text)))),
    ("crypto.sha1", |cx, args| digested(cx, args, |text| hex::encode(sha1(text)))),
    ("crypto.sha256", |cx, args| digested(cx, args, |text| hex::encode(sha256(text)))),
    ("crypto.hmac.md5", |cx, args| authenticated(cx, args, |key, text| hex::encode(hmac_md5(key, text)))),
    ("crypto.hmac.sha1", |cx, args| {
        authenticated(cx, args, |key, text| signed(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key, text))
    }),
    ("crypto.hmac.sha256", |cx, args| authenticated(cx, args, |key, text| signed(hmac::HMAC_SHA256, key, text))),
    ("crypto.hmac.sha512", |cx, args| authenticated(cx, args, |key, text| signed(hmac::HMAC_SHA512, key, text))),
    ("crypto.hmac.equal", equal),
];

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

pub(super) fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

/// The code of a message under a key.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn digested(cx: &mut Context, args: &[Value], digest: fn(&[u8]) -> String) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(4))?;
    done(digest(text.as_bytes()))
}

fn authenticated(cx: &mut Context, args: &[Value], code: fn(&[u8], &[u8]) -> String) -> Outcome {
    let (text, key) = (string(args, 0)?, string(args, 1)?);
    cx.spend((text.len() + key.len()).saturating_mul(4))?;
    done(code(key.as_bytes(), text.as_bytes()))
}

fn signed(algorithm: hmac::Algorithm, key: &[u8], text: &[u8]) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(algorithm, key), text))
}

fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0_u8; 64];
    let short = if key.len() > block.len() { md5(key).to_vec() } else { key.to_vec() };
    for (slot, byte) in block.iter_mut().zip(short) {
        *slot = byte;
    }
    let inner = [block.map(|byte| byte ^ 0x36).as_slice(), text].concat();
    md5(&[block.map(|byte| byte ^ 0x5c).as_slice(), &md5(&inner)].concat())
}

fn equal(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (string(args, 0)?, string(args, 1)?);
    cx.spend(a.len() / 8)?;
    done(constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok())
}
