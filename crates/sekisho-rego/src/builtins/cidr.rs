//! `net.cidr_*`.

use std::net::IpAddr;

use super::block::{Block, MAPPED, address, bits, is_v4, mask};
use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::operand::{any, items, string, type_error};
use crate::value::{Set, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("net.cidr_contains", contains),
    ("net.cidr_overlap", contains),
    ("net.cidr_contains_matches", contains_matches),
    ("net.cidr_intersects", intersects),
    ("net.cidr_expand", expand),
    ("net.cidr_is_valid", is_valid),
    ("net.cidr_merge", merge),
];

fn invalid(text: &str) -> BuiltinError {
    failure(format!("invalid CIDR address: {text}"))
}

fn block(value: &Value) -> Result<Block, BuiltinError> {
    let text = value.as_str().ok_or_else(|| type_error(std::slice::from_ref(value), 0, &["string"]))?;
    Block::parse(text).ok_or_else(|| invalid(text))
}

fn block_contains(whole: &Value, part: &Value) -> Result<bool, BuiltinError> {
    let whole = block(whole)?;
    let text = part.as_str().ok_or_else(|| type_error(std::slice::from_ref(part), 0, &["string"]))?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(whole.contains(bits(ip)));
    }
    let wrong = || failure(format!("not a valid textual representation of an IP address or CIDR: {text}"));
    let part = Block::parse(text).ok_or_else(wrong)?;
    let same_family = whole.is_v4() == part.is_v4();
    Ok(same_family && whole.prefix <= part.prefix && part.first & mask(whole.prefix) == whole.first)
}

fn contains(cx: &mut Context, args: &[Value]) -> Outcome {
    cx.spend(20)?;
    done(block_contains(any(args, 0)?, any(args, 1)?)?)
}

/// Blocks of an argument, each with the key that names it in results.
fn keyed(args: &[Value], index: usize) -> Result<Vec<(Value, Value)>, BuiltinError> {
    let wrong = || failure(format!("operand {}: element must be string or non-empty array", index + 1));
    let cidr = |value: &Value| match value {
        Value::String(_) => Ok(value.clone()),
        Value::Array(parts) => parts.first().cloned().ok_or_else(wrong),
        _ => Err(wrong()),
    };
    match any(args, index)? {
        value @ Value::String(_) => Ok(vec![(value.clone(), value.clone())]),
        Value::Array(all) => all.iter().enumerate().map(|(at, value)| Ok((Value::from(at), cidr(value)?))).collect(),
        Value::Set(all) => all.iter().map(|value| Ok((value.clone(), cidr(value)?))).collect(),
        Value::Object(all) => all.iter().map(|(key, value)| Ok((key.clone(), cidr(value)?))).collect(),
        _ => Ok(Vec::new()),
    }
}

fn contains_matches(cx: &mut Context, args: &[Value]) -> Outcome {
    let (wholes, parts) = (keyed(args, 0)?, keyed(args, 1)?);
    cx.spend(wholes.len().saturating_mul(parts.len()).saturating_mul(60))?;
    let mut found = Vec::new();
    for (whole_key, whole) in &wholes {
        for (part_key, part) in &parts {
            if block_contains(whole, part)? {
                found.push(Value::from(vec![whole_key.clone(), part_key.clone()]));
            }
        }
    }
    done(Set::from_vec(found))
}

fn intersects(cx: &mut Context, args: &[Value]) -> Outcome {
    cx.spend(20)?;
    let (a, b) = (block(any(args, 0)?)?, block(any(args, 1)?)?);
    done(a.contains(b.first) || b.contains(a.first))
}

fn expand(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    let block = Block::parse(text).ok_or_else(|| invalid(text))?;
    let last = usize::try_from(block.last() - block.first).unwrap_or(usize::MAX);
    cx.spend(last.saturating_mul(64))?;
    let addresses = (block.first..=block.last()).map(|bits| Value::from(address(bits).to_string()));
    done(Set::from_vec(addresses.collect()))
}

fn is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    cx.spend(20)?;
    done(any(args, 0)?.as_str().is_some_and(|text| Block::parse(text).is_some()))
}

/// A run of addresses, and the text of its block if it is one block as given.
struct Run {
    first: u128,
    last: u128,
    text: Option<String>,
}

fn run(value: &Value) -> Result<Run, BuiltinError> {
    let text = value.as_str().ok_or_else(|| failure("element must be string"))?;
    let (block, text) = match text.parse::<IpAddr>().map(bits) {
        Err(_) => {
            let block = Block::parse(text).ok_or_else(|| invalid(text))?;
            (block, block.text())
        }
        Ok(bits) if is_v4(bits) => {
            // A bare address stands for the network of its class.
            let prefix = match (bits >> 24) as u8 {
                0..=127 => 8,
                128..=191 => 16,
                192..=223 => 24,
                _ => 32,
            };
            let block = Block { first: bits & mask(96 + prefix), prefix: 96 + prefix };
            (block, format!("{}/{prefix}", address(bits)))
        }
        Ok(_) => return Err(failure("IPv6 invalid: needs prefix length")),
    };
    Ok(Run { first: block.first, last: block.last(), text: Some(text) })
}

/// The address before, in the same family; the first address stays.
fn previous(bits: u128) -> u128 {
    if bits == MAPPED { bits } else { bits.saturating_sub(1) }
}

/// The fewest blocks that cover a run.
fn blocks(first: u128, last: u128) -> Vec<Block> {
    let (mut out, mut from) = (Vec::new(), first);
    let widest = if is_v4(first) { 32 } else { 128 };
    loop {
        let aligned = from.trailing_zeros().min(widest);
        let size = last - from;
        let fitting = if size == u128::MAX { 128 } else { 127 - (size + 1).leading_zeros() };
        let host = aligned.min(fitting);
        let block = Block { first: from, prefix: 128 - host };
        out.push(block);
        if block.last() >= last {
            return out;
        }
        from = block.last() + 1;
    }
}

fn merge(cx: &mut Context, args: &[Value]) -> Outcome {
    let networks = items(any(args, 0)?).ok_or_else(|| failure("operand must be an array"))?;
    cx.spend(networks.len().saturating_mul(300))?;
    let mut runs = networks.iter().map(run).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by_key(|run| (run.last, run.first));
    let mut merged: Vec<Run> = Vec::new();
    while let Some(run) = runs.pop() {
        match runs.last_mut() {
            Some(before) if previous(run.first) <= before.last => {
                *before = Run { first: before.first.min(run.first), last: run.last, text: None };
            }
            _ => merged.push(run),
        }
    }
    let texts = merged.into_iter().flat_map(|run| match run.text {
        Some(text) => vec![Value::from(text)],
        None => blocks(run.first, run.last).into_iter().map(|block| Value::from(block.text())).collect(),
    });
    done(texts.collect::<Set>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(networks: &str) -> String {
        let args = [Value::from_json(networks).expect("json")];
        merge(&mut Context::new(0), &args).expect("merge").expect("defined").to_json()
    }

    #[test]
    fn adjacent_blocks_are_merged() {
        assert_eq!(merged(r#"["192.0.128.0/24", "192.0.129.0/24"]"#), r#"["192.0.128.0/23"]"#);
        assert_eq!(merged(r#"["192.0.129.0/24", "192.0.130.0/24"]"#), r#"["192.0.129.0/24","192.0.130.0/24"]"#);
        assert_eq!(merged(r#"["::/0", "fe80::1/128"]"#), r#"["::/0"]"#);
    }

    #[test]
    fn a_block_contains_only_its_family() {
        let holds = |a: &str, b: &str| block_contains(&Value::from(a), &Value::from(b)).expect("blocks");
        assert!(holds("10.0.0.0/8", "10.1.2.3") && holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!holds("::/0", "10.1.2.3") && holds("::/80", "::/80"));
        assert!(!holds("10.0.0.0/8", "0.0.0.0/0"));
    }
}
