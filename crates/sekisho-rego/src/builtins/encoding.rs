//! `base64.*`, `base64url.*`, `hex.*`, `json.*` (texts), `yaml.*`.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::operand::{any, object, operand_error, string};
use super::yaml;
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("base64.encode", |cx, args| encoded(cx, args, |text| STANDARD.encode(text))),
    ("base64.decode", base64_decode),
    ("base64.is_valid", base64_is_valid),
    ("base64url.encode", |cx, args| encoded(cx, args, |text| URL_SAFE.encode(text))),
    ("base64url.encode_no_pad", |cx, args| encoded(cx, args, |text| URL_SAFE_NO_PAD.encode(text))),
    ("base64url.decode", base64url_decode),
    ("hex.encode", |cx, args| encoded(cx, args, |text| hex::encode(text))),
    ("hex.decode", hex_decode),
    ("json.marshal", json_marshal),
    ("json.marshal_with_options", json_marshal_with_options),
    ("json.unmarshal", json_unmarshal),
    ("json.is_valid", json_is_valid),
    ("yaml.marshal", yaml_marshal),
    ("yaml.unmarshal", yaml_unmarshal),
    ("yaml.is_valid", yaml_is_valid),
];

/// Go takes any bits after the last byte, and wants the padding.
const LENIENT_BITS: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
pub(super) const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT_BITS);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT_BITS);
pub(super) const URL_SAFE_NO_PAD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    LENIENT_BITS.with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes as a string: what is not UTF-8 becomes the replacement character.
pub(super) fn text_of(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes).as_ref())
}

fn encoded(cx: &mut Context, args: &[Value], encode: fn(&str) -> String) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(2))?;
    done(encode(text))
}

/// Decodes the standard alphabet; line ends do not count.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, BuiltinError> {
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(plain).map_err(|error| failure(format!("illegal base64 data: {error}")))
}

fn base64_decode(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    done(text_of(&from_base64(text)?))
}

fn base64_is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let Some(text) = any(args, 0)?.as_str() else {
        return done(false);
    };
    cx.spend(text.len())?;
    done(from_base64(text).is_ok())
}

fn base64url_decode(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    let mut padded: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    if !text.ends_with('=') {
        match text.len() % 4 {
            0 => {}
            2 => padded.push_str("=="),
            3 => padded.push('='),
            _ => return Err(failure(format!("illegal base64url string: {text}"))),
        }
    }
    let bytes = URL_SAFE.decode(padded).map_err(|error| failure(format!("illegal base64 data: {error}")))?;
    done(text_of(&bytes))
}

fn hex_decode(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    let wrong = text.bytes().find(|byte| !byte.is_ascii_hexdigit());
    let bytes = hex::decode(text).map_err(|_| match wrong {
        Some(byte) => failure(format!("encoding/hex: invalid byte: U+{byte:04X} '{}'", char::from(byte))),
        None => failure("encoding/hex: odd length hex string"),
    })?;
    done(text_of(&bytes))
}

/// The value in JSON's terms: sets are arrays, keys are strings.
pub(super) fn plain(cx: &mut Context, value: &Value) -> Result<Value, BuiltinError> {
    cx.spend_value(value)?;
    Ok(plain_part(value))
}

fn plain_part(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::from(items.iter().map(plain_part).collect::<Vec<_>>()),
        Value::Set(items) => Value::from(items.iter().map(plain_part).collect::<Vec<_>>()),
        Value::Object(object) => {
            let member = |(key, value): (&Value, &Value)| {
                let key = match key {
                    Value::String(_) => key.clone(),
                    other => {
                        let mut text = String::new();
                        plain_part(other).write_json(&mut text, true);
                        Value::from(text)
                    }
                };
                (key, plain_part(value))
            };
            Value::from(Object::from_vec(object.iter().map(member).collect()))
        }
        scalar => scalar.clone(),
    }
}

/// Compact JSON as Go writes it.
pub(super) fn to_json(cx: &mut Context, value: &Value) -> Result<String, BuiltinError> {
    let mut text = String::new();
    plain(cx, value)?.write_json(&mut text, true);
    cx.spend(text.len())?;
    Ok(text)
}

fn json_marshal(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = to_json(cx, any(args, 0)?)?;
    done(text)
}

fn json_marshal_with_options(cx: &mut Context, args: &[Value]) -> Outcome {
    let (mut prefix, mut indent, mut pretty, mut implied) = ("", "\t", None, false);
    for (key, value) in object(args, 1)?.iter() {
        let wrong = |kind: &str| operand_error(1, &format!("key {key} failed cast to {kind}"));
        match key.as_str() {
            Some("prefix") => (prefix, implied) = (value.as_str().ok_or_else(|| wrong("string"))?, true),
            Some("indent") => (indent, implied) = (value.as_str().ok_or_else(|| wrong("string"))?, true),
            Some("pretty") => pretty = Some(value.as_bool().ok_or_else(|| wrong("bool"))?),
            Some(other) => {
                return Err(operand_error(1, &format!("object contained unknown key {}", Value::from(other))));
            }
            None => return Err(operand_error(1, &format!("failed to stringify key {key}"))),
        }
    }
    if !pretty.unwrap_or(implied) {
        return json_marshal(cx, args);
    }
    let value = plain(cx, any(args, 0)?)?;
    let mut writer = Indented { cx, prefix, indent, out: prefix.to_owned() };
    writer.value(&value, 0)?;
    done(writer.out)
}

/// JSON over several lines.
struct Indented<'a> {
    cx: &'a mut Context,
    prefix: &'a str,
    indent: &'a str,
    out: String,
}

impl Indented<'_> {
    fn line(&mut self, depth: usize) -> Result<(), BuiltinError> {
        let size = self.indent.len().saturating_mul(depth).saturating_add(self.prefix.len());
        self.cx.spend(size)?;
        self.out.push('\n');
        self.out.push_str(self.prefix);
        self.out.push_str(&self.indent.repeat(depth));
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), BuiltinError> {
        match value {
            Value::Array(items) if !items.is_empty() => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.out.push_str(if at > 0 { "," } else { "" });
                    self.line(depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                self.line(depth)?;
                self.out.push(']');
            }
            Value::Object(object) if !object.is_empty() => {
                self.out.push('{');
                for (at, (key, member)) in object.iter().enumerate() {
                    self.out.push_str(if at > 0 { "," } else { "" });
                    self.line(depth + 1)?;
                    key.write_json(&mut self.out, true);
                    self.out.push_str(": ");
                    self.value(member, depth + 1)?;
                }
                self.line(depth)?;
                self.out.push('}');
            }
            other => other.write_json(&mut self.out, true),
        }
        Ok(())
    }
}

fn json_unmarshal(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().saturating_mul(2))?;
    let value = Value::from_json(text).map_err(|error| failure(format!("{error}")))?;
    done(value)
}

fn json_is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let Some(text) = any(args, 0)?.as_str() else {
        return done(false);
    };
    cx.spend(text.len().saturating_mul(2))?;
    done(Value::from_json(text).is_ok())
}

fn yaml_marshal(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = plain(cx, any(args, 0)?)?;
    let text = yaml::write(cx, &value)?;
    done(text)
}

fn yaml_unmarshal(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = yaml::read(cx, string(args, 0)?)?;
    done(value)
}

fn yaml_is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let Some(text) = any(args, 0)?.as_str() else {
        return done(false);
    };
    match yaml::read(cx, text) {
        Err(error) if error.is_fatal() => Err(error),
        outcome => done(outcome.is_ok()),
    }
}
