//! `uuid.*`.

use super::context::{Context, Outcome, done};
use super::hash::sha256;
use super::operand::{any, string};
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[("uuid.rfc4122", generate), ("uuid.parse", parse)];

/// A version 4 identifier from the seed and the time of the decision and the argument: equal arguments give the
/// same one in a decision.
fn generate(cx: &mut Context, args: &[Value]) -> Outcome {
    let key = any(args, 0)?;
    cx.spend_value(key)?;
    let source = format!("uuid\n{}\n{}\n{key}", cx.seed, cx.now_ns);
    let digest = sha256(source.as_bytes());
    let mut bytes: [u8; 16] = digest.first_chunk().copied().unwrap_or_default();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    done([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

/// The sixteen bytes of an identifier in one of its four notations.
fn bytes_of(text: &str) -> Option<[u8; 16]> {
    let plain = match text.len() {
        45 if text.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("urn:uuid:")) => text.get(9..)?,
        38 => text.get(1..37)?,
        _ => text,
    };
    let digits = match plain.len() {
        36 => {
            let parts: Vec<&str> = plain.split('-').collect();
            let sizes: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            (sizes == [8, 4, 4, 4, 12]).then(|| parts.concat())?
        }
        32 => plain.to_owned(),
        _ => return None,
    };
    let mut bytes = [0; 16];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn variant(byte: u8) -> &'static str {
    match byte {
        0x80..=0xbf => "RFC4122",
        0xc0..=0xdf => "Microsoft",
        0xe0..=0xff => "Future",
        _ => "Reserved",
    }
}

fn parse(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len().min(64))?;
    let Some(bytes) = bytes_of(text) else {
        return Ok(None);
    };
    let number = |range: std::ops::Range<usize>| {
        bytes.get(range).unwrap_or_default().iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte))
    };
    let version = number(6..7) >> 4;
    let mut members = vec![("version", Value::from(version)), ("variant", Value::from(variant(bytes[8])))];
    if matches!(version, 1 | 2) {
        let high = number(6..8) & 0x0fff;
        let ticks = high << 48 | number(4..6) << 32 | number(0..4);
        // 100-nanosecond steps since 15 October 1582.
        let nanoseconds = ticks.wrapping_sub(0x01b2_1dd2_1381_4000).wrapping_mul(100);
        let node = bytes.get(10..).unwrap_or_default();
        let kind = match bytes[10] & 3 {
            3 => "local:multicast",
            1 => "global:multicast",
            2 => "local:unicast",
            _ => "global:unicast",
        };
        let node_id: Vec<String> = node.iter().map(|byte| format!("{byte:02x}")).collect();
        members.push(("time", Value::from(nanoseconds)));
        members.push(("nodeid", Value::from(node_id.join("-"))));
        members.push(("macvariables", Value::from(kind)));
        members.push(("clocksequence", Value::from(number(8..10) & 0x3fff)));
    }
    if version == 2 {
        let domain = match bytes[9] {
            0 => "Person".to_owned(),
            1 => "Group".to_owned(),
            2 => "Org".to_owned(),
            other => format!("Domain{other}"),
        };
        members.push(("id", Value::from(number(0..4))));
        members.push(("domain", Value::from(domain)));
    }
    done(members.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Object>())
}
