//! The members of a request object, as `http.send` and `providers.aws.sign_req` take it.

use super::context::BuiltinError;
use super::operand::{object, operand_error};
use crate::value::{Object, Set, Value};

const ALLOWED: [&str; 27] = [
    "method",
    "url",
    "body",
    "enable_redirect",
    "force_json_decode",
    "force_yaml_decode",
    "headers",
    "raw_body",
    "tls_use_system_certs",
    "tls_ca_cert",
    "tls_ca_cert_file",
    "tls_ca_cert_env_variable",
    "tls_client_cert",
    "tls_client_cert_file",
    "tls_client_cert_env_variable",
    "tls_client_key",
    "tls_client_key_file",
    "tls_client_key_env_variable",
    "tls_insecure_skip_verify",
    "tls_server_name",
    "timeout",
    "cache",
    "force_cache",
    "force_cache_duration_seconds",
    "raise_error",
    "caching_mode",
    "max_retry_attempts",
];

/// The keys that an object lacks.
pub(super) fn missing(object: &Object, required: &[&str]) -> Set {
    required.iter().filter(|key| object.get_str(key).is_none()).map(|key| Value::from(*key)).collect()
}

/// The keys whose values are no strings.
pub(super) fn no_strings(object: &Object, keys: &[&str]) -> Set {
    let wrong = |key: &&&str| object.get_str(key).is_some_and(|value| value.as_str().is_none());
    keys.iter().filter(wrong).map(|key| Value::from(*key)).collect()
}

/// The request object, if it has all keys it needs and only keys that are defined.
pub(super) fn check(args: &[Value], index: usize) -> Result<&Object, BuiltinError> {
    let request = object(args, index)?;
    let defined =
        |key: &Value| key.as_str().is_some_and(|key| ALLOWED.contains(&key) || key == "cache_ignored_headers");
    let unknown: Set = request.keys().filter(|key| !defined(key)).cloned().collect();
    if !unknown.is_empty() {
        let text = format!("invalid request parameters(s): {}", Value::from(unknown));
        return Err(operand_error(index, &text));
    }
    let missing = missing(request, &["method", "url"]);
    if missing.is_empty() {
        return Ok(request);
    }
    Err(operand_error(index, &format!("missing required request parameters(s): {}", Value::from(missing))))
}
