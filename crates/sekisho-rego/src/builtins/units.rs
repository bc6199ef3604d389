//! `units.parse` and `units.parse_bytes`.

use num_bigint::BigInt;
use num_traits::{Pow, Zero};

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::float::Float;
use super::operand::string;
use crate::value::{Number, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] =
    &[("units.parse", parse), ("units.parse_bytes", parse_bytes)];

/// The longest amount that is read.
const MAX_TEXT: usize = 1_000;
/// The largest exponent of an amount that is computed.
const MAX_EXPONENT: u32 = 10_000;

/// The number and the unit of a text.
fn split(text: &str) -> Result<(&str, &str), BuiltinError> {
    if text.contains(' ') {
        return Err(failure("spaces not allowed in resource strings"));
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let sign = |at: usize| matches!(bytes.get(at), Some(b'+' | b'-'));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' | b'.' | b'+' | b'-' => at += 1,
            b'e' | b'E' if digit(at + 1) || sign(at + 1) => {
                at += if sign(at + 1) { 2 } else { 1 };
                let start = at;
                while digit(at) {
                    at += 1;
                }
                if at - start > 6 {
                    return Err(failure("exponent too large"));
                }
            }
            _ => break,
        }
    }
    text.split_at_checked(at).ok_or_else(|| failure("could not parse amount to a number"))
}

/// A decimal as digits × 10^exponent.
fn decimal(text: &str) -> Option<(BigInt, i64)> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let sign_free = whole.trim_start_matches(['+', '-']);
    if whole.len() - sign_free.len() > 1 || sign_free.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = format!("{sign_free}{fraction}");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: BigInt = digits.parse().ok()?;
    let number = if whole.starts_with('-') { -number } else { number };
    Some((number, exponent - i64::try_from(fraction.len()).ok()?))
}

/// The numerator and denominator of an amount.
fn amount(cx: &mut Context, text: &str, wrong: &str) -> Result<(BigInt, BigInt), BuiltinError> {
    let (digits, exponent) = decimal(text).ok_or_else(|| failure(wrong))?;
    let power = u32::try_from(exponent.unsigned_abs()).ok().filter(|power| *power <= MAX_EXPONENT);
    let power = power.ok_or_else(|| failure("exponent too large"))?;
    cx.spend(power as usize * 4)?;
    let scale = BigInt::from(10).pow(power);
    Ok(if exponent >= 0 { (digits * scale, BigInt::from(1)) } else { (digits, scale) })
}

fn text_of(cx: &mut Context, args: &[Value]) -> Result<String, BuiltinError> {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    if text.len() > MAX_TEXT {
        return Err(failure("amount is too long"));
    }
    Ok(text.replace('"', ""))
}

/// The power of ten or of two of a unit's letter.
fn factor(letter: char, binary: bool) -> Option<BigInt> {
    let step = match letter {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        'p' => 5,
        'e' => 6,
        _ => return None,
    };
    Some(BigInt::from(if binary { 1024 } else { 1000 }).pow(step as u32))
}

fn parse(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = text_of(cx, args)?;
    let (number, unit) = split(&text)?;
    if number.is_empty() {
        return Err(failure("no amount provided"));
    }
    let mut letters = unit.chars();
    let first = letters.next();
    let rest = letters.as_str().to_lowercase();
    let (numerator, denominator) = match (first, rest.as_str()) {
        (None, _) => (BigInt::from(1), BigInt::from(1)),
        // 0.001 as a float, as OPA has it.
        (Some('m'), "") => (BigInt::from(1_152_921_504_606_847_u64), BigInt::from(1_152_921_504_606_846_976_u64)),
        (Some(letter), "" | "i") => match factor(letter.to_ascii_lowercase(), rest == "i") {
            Some(factor) => (factor, BigInt::from(1)),
            None => return Err(failure(format!("unit {letter}{rest} not recognized"))),
        },
        (Some(letter), rest) => return Err(failure(format!("unit {letter}{rest} not recognized"))),
    };
    let (digits, scale) = amount(cx, number, "could not parse amount to a number")?;
    let (top, bottom) = (digits * numerator, scale * denominator);
    if (&top % &bottom).is_zero() {
        return done(Number::from_bigint(top / bottom));
    }
    done(Number::parse(&ten_places(&top, &bottom)).ok_or_else(|| failure("number too big"))?)
}

/// A fraction with ten decimal places, rounded half away from zero.
fn ten_places(top: &BigInt, bottom: &BigInt) -> String {
    let scaled: BigInt = top * BigInt::from(10_000_000_000_u64);
    let doubled: BigInt = scaled * 2;
    let quotient = doubled.magnitude() / bottom.magnitude();
    let rounded = (quotient + 1_u8) / 2_u8;
    let digits = format!("{:0>11}", rounded.to_string());
    let (whole, fraction) = digits.split_at_checked(digits.len() - 10).unwrap_or((&digits, ""));
    let sign = if top.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

fn parse_bytes(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = text_of(cx, args)?.to_lowercase();
    let (number, unit) = split(&text)?;
    if number.is_empty() {
        return Err(failure("no byte amount provided"));
    }
    let unit_error = || failure(format!("byte unit {unit} not recognized"));
    let mut letters = unit.chars();
    let scale = match (letters.next(), letters.as_str()) {
        (None, _) => BigInt::from(1),
        (Some(letter), "" | "b") => factor(letter, false).ok_or_else(unit_error)?,
        (Some(letter), "i" | "ib") => factor(letter, true).ok_or_else(unit_error)?,
        _ => return Err(unit_error()),
    };
    let wrong = "could not parse byte amount to a number";
    let (digits, denominator) = amount(cx, number, wrong)?;
    if (&digits % &denominator).is_zero() && (&digits / &denominator).bits() <= 64 {
        let exact = digits / denominator * scale;
        return done(Number::from_bigint(Float::from_integer(&exact).ok_or_else(|| failure(wrong))?.truncated()));
    }
    // In floats of 64 bits, as OPA computes.
    let quotient = Float::from_integer(&digits)
        .zip(Float::from_integer(&denominator))
        .and_then(|(digits, denominator)| digits.div(denominator))
        .zip(Float::from_integer(&scale))
        .and_then(|(number, scale)| number.mul(scale));
    done(Number::from_bigint(quotient.ok_or_else(|| failure(wrong))?.truncated()))
}
