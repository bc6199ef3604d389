//! `providers.aws.sign_req`: requests signed by AWS Signature Version 4.

use std::collections::BTreeMap;

use super::civil::Civil;
use super::context::{BuiltinError, Context, Outcome, done};
use super::encoding::to_json;
use super::hash::{hmac_sha256, sha256};
use super::operand::{number, object, operand_error, small, type_error};
use super::request::{check, missing, no_strings};
use super::urls::request_parts;
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[("providers.aws.sign_req", sign_request)];

const REQUIRED: [&str; 4] = ["aws_access_key", "aws_region", "aws_secret_access_key", "aws_service"];
/// Headers that a proxy may change on the way.
const UNSIGNED: [&str; 3] = ["authorization", "user-agent", "x-amzn-trace-id"];

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get_str(name).and_then(Value::as_str).unwrap_or_default()
}

fn refuse(index: usize, what: &str, keys: crate::value::Set) -> Result<(), BuiltinError> {
    if keys.is_empty() {
        return Ok(());
    }
    Err(operand_error(index, &format!("{what} parameters(s): {}", Value::from(keys))))
}

fn sign_request(cx: &mut Context, args: &[Value]) -> Outcome {
    object(args, 0)?;
    let config = object(args, 1)?;
    refuse(1, "missing required AWS config", missing(config, &REQUIRED))?;
    refuse(1, "invalid values for required AWS config", no_strings(config, &REQUIRED))?;
    let wrong_time = || operand_error(2, "could not convert time_ns value into a unix timestamp");
    let seconds = small(number(args, 2)?).ok_or_else(wrong_time)?.div_euclid(1_000_000_000);
    let request = check(args, 0)?;
    let headers = match request.get_str("headers") {
        None => Object::default(),
        Some(Value::Object(headers)) => headers.clone(),
        Some(other) => return Err(type_error(std::slice::from_ref(other), 0, &["object"])),
    };
    refuse(0, "invalid values for required request", no_strings(request, &["method", "url"]))?;
    let body = match (request.get_str("raw_body"), request.get_str("body")) {
        (Some(raw), _) => raw.as_str().unwrap_or_default().to_owned(),
        (None, Some(body)) => to_json(cx, body)?,
        (None, None) => String::new(),
    };
    let unsigned_payload = match config.get_str("disable_payload_signing") {
        None => false,
        Some(flag) => flag
            .as_bool()
            .ok_or_else(|| operand_error(1, "invalid value for 'disable_payload_signing' in AWS config"))?,
    };
    cx.spend(body.len().saturating_mul(4).saturating_add(headers.len().saturating_mul(200)))?;
    let digest = if unsigned_payload { "UNSIGNED-PAYLOAD".to_owned() } else { hex::encode(sha256(body.as_bytes())) };
    let signed = signed_headers(config, request, &headers, &digest, seconds)?;
    let mut out = request.clone();
    out.insert(Value::from("headers"), Value::from(signed));
    done(out)
}

/// The request's headers, those of AWS, and the signature over them.
fn signed_headers(
    config: &Object,
    request: &Object,
    headers: &Object,
    digest: &str,
    seconds: i64,
) -> Result<Object, BuiltinError> {
    let (service, region) = (text(config, "aws_service"), text(config, "aws_region"));
    let (host, path, query) = request_parts(text(request, "url"))?;
    let now = Civil::new(seconds, 0);
    let date = format!("{:04}{:02}{:02}", now.year, now.month, now.day);
    let time = format!("{date}T{:02}{:02}{:02}Z", now.hour, now.minute, now.second);
    let mut added = vec![("host", host), ("x-amz-date", time.clone())];
    if matches!(service, "s3" | "glacier") {
        added.push(("x-amz-content-sha256", digest.to_owned()));
    }
    if !text(config, "aws_session_token").is_empty() {
        added.push(("x-amz-security-token", text(config, "aws_session_token").to_owned()));
    }
    let mut signed: BTreeMap<String, String> = added.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    for (name, value) in headers.iter() {
        let name = name.as_str().unwrap_or_default().to_lowercase();
        if !UNSIGNED.contains(&name.as_str()) {
            signed.insert(name, value.as_str().unwrap_or_default().to_owned());
        }
    }
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = signed.into_keys().collect::<Vec<_>>().join(";");
    let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{digest}", text(request, "method"));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(sha256(canonical.as_bytes())));
    let secret = format!("AWS4{}", text(config, "aws_secret_access_key")).into_bytes();
    let parts = [date.as_str(), region, service, "aws4_request", &to_sign];
    let signature = parts.iter().fold(secret, |key, part| hmac_sha256(&key, part.as_bytes()));
    let key = text(config, "aws_access_key");
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},Signature={}", hex::encode(signature));
    let kept = headers.iter().map(|(name, value)| {
        (Value::from(name.as_str().unwrap_or_default()), Value::from(value.as_str().unwrap_or_default()))
    });
    let mut out: Object = kept.collect();
    out.insert(Value::from("Authorization"), Value::from(authorization));
    for (name, value) in added {
        out.insert(Value::from(name), Value::from(value));
    }
    Ok(out)
}
