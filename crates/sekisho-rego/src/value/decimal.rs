//! Decimals: digits × 10^exponent, with the text they were read from.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};
use num_traits::{Pow, Zero};

/// The largest power of ten: 100,000 bits, as OPA bounds it.
const MAX_EXPONENT: i64 = 30_103;

#[derive(Debug)]
pub(super) struct Decimal {
    text: Box<str>,
    digits: BigInt,
    exponent: i32,
    plain: bool,
}

impl Decimal {
    /// Reads `-?digits(.digits)?([eE][+-]?digits)?`.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let digits_only = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits_only(whole) || fraction.is_some_and(|part| !digits_only(part)) {
            return None;
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let power = match exponent {
            Some(part) => read_exponent(part)?,
            None => 0,
        };
        let fraction = fraction.unwrap_or_default();
        let exponent_sum = power.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let size = i64::try_from(whole.len()).ok()?.checked_add(power)?;
        if size > MAX_EXPONENT || exponent_sum < -MAX_EXPONENT {
            return None;
        }
        let joined = [whole, fraction].concat();
        let digits: BigInt = joined.parse().ok()?;
        let digits = if text.starts_with('-') { -digits } else { digits };
        let plain = exponent.is_none() && mantissa.len() == whole.len() && !(digits.is_zero() && text.starts_with('-'));
        Some(Decimal { text: text.into(), digits, exponent: i32::try_from(exponent_sum).ok()?, plain })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// An integer without dot and exponent, and not `-0`.
    pub(super) fn is_plain_integer(&self) -> bool {
        self.plain
    }

    pub(super) fn is_negative_zero(&self) -> bool {
        &*self.text == "-0"
    }

    pub(super) fn into_digits(self) -> BigInt {
        self.digits
    }

    pub(super) fn parts(&self) -> (BigInt, i32) {
        (self.digits.clone(), self.exponent)
    }

    pub(super) fn into_parts(self) -> (BigInt, i32) {
        (self.digits, self.exponent)
    }

    /// The integer it is by value.
    pub(super) fn to_integer(&self) -> Option<BigInt> {
        if self.digits.is_zero() {
            return Some(BigInt::zero());
        }
        if self.exponent < 0 && self.digits.bits() < u64::from(self.exponent.unsigned_abs()) {
            return None;
        }
        let power = ten_to(self.exponent.unsigned_abs());
        if self.exponent >= 0 {
            return Some(&self.digits * power);
        }
        let (quotient, rest) = (&self.digits / &power, &self.digits % &power);
        rest.is_zero().then_some(quotient)
    }

    pub(super) fn compare(a: (BigInt, i32), b: (BigInt, i32)) -> Ordering {
        let signs = sign_of(&a.0).cmp(&sign_of(&b.0));
        if signs.is_ne() {
            return signs;
        }
        if let Some(order) = by_magnitude(&a, &b) {
            return order;
        }
        let low = a.1.min(b.1);
        let lift = |(digits, exponent): (BigInt, i32)| match exponent.abs_diff(low) {
            0 => digits,
            steps => digits * ten_to(steps),
        };
        lift(a).cmp(&lift(b))
    }
}

/// The order of two numbers of the same sign whose powers of two are apart; no large power is computed for them.
fn by_magnitude(a: &(BigInt, i32), b: &(BigInt, i32)) -> Option<Ordering> {
    if a.1 == b.1 || a.0.is_zero() {
        return None;
    }
    let power =
        |(digits, exponent): &(BigInt, i32)| digits.bits() as f64 + f64::from(*exponent) * std::f64::consts::LOG2_10;
    let (left, right) = (power(a), power(b));
    if (left - right).abs() < 2.0 {
        return None;
    }
    let order = left.total_cmp(&right);
    Some(if a.0.sign() == Sign::Minus { order.reverse() } else { order })
}

fn sign_of(digits: &BigInt) -> i8 {
    match digits.sign() {
        Sign::Minus => -1,
        Sign::NoSign => 0,
        Sign::Plus => 1,
    }
}

pub(super) fn ten_to(power: u32) -> BigInt {
    BigInt::from(10).pow(power)
}

fn read_exponent(part: &str) -> Option<i64> {
    let digits = part.strip_prefix(['+', '-']).unwrap_or(part);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > 6 {
        return None;
    }
    let size = if digits.is_empty() { 0 } else { digits.parse::<i64>().ok().filter(|size| *size <= MAX_EXPONENT)? };
    Some(if part.starts_with('-') { -size } else { size })
}
