//! Numbers: integers of any size and decimals, compared by value. The text a number was written with is kept.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive, Zero};

use super::decimal::Decimal;

/// A number of JSON: exact, of any size within the bounds of [`Number::parse`].
#[derive(Clone)]
pub struct Number(Repr);

#[derive(Clone)]
enum Repr {
    Int(i64),
    /// Finite, with a fraction, and written as Rust writes it.
    Float(f64),
    Big(Arc<BigInt>),
    /// All the rest: `1.0`, `1e3`, `-0`, decimals longer than a float.
    Decimal(Arc<Decimal>),
}

impl Number {
    /// The number zero.
    pub const ZERO: Number = Number(Repr::Int(0));

    /// Reads a number of JSON; none where the text is not a number or its exponent is beyond 30,103 (100,000 bits).
    pub fn parse(text: &str) -> Option<Number> {
        if let Some(small) = small_int(text) {
            return Some(Number(Repr::Int(small)));
        }
        let decimal = Decimal::parse(text)?;
        if decimal.is_plain_integer() {
            return Some(Number::from_bigint(decimal.into_digits()));
        }
        if text.len() <= 18
            && let Ok(float) = text.parse::<f64>()
            && float.is_finite()
            && float.fract() != 0.0
            && float.to_string() == text
        {
            return Some(Number(Repr::Float(float)));
        }
        Some(Number(Repr::Decimal(Arc::new(decimal))))
    }

    /// The number a float stands for, in the shortest decimal form; none for infinity and NaN.
    pub fn from_f64(float: f64) -> Option<Number> {
        if !float.is_finite() {
            return None;
        }
        if float.fract() == 0.0 {
            return BigInt::from_f64(float).map(Number::from_bigint);
        }
        Some(Number(Repr::Float(float)))
    }

    /// An integer of any size.
    pub fn from_bigint(integer: BigInt) -> Number {
        match integer.to_i64() {
            Some(small) => Number(Repr::Int(small)),
            None => Number(Repr::Big(Arc::new(integer))),
        }
    }

    /// The integer, if it is written as one (`1`, not `1.0`) and fits.
    #[inline]
    pub fn as_i64(&self) -> Option<i64> {
        match &self.0 {
            Repr::Int(integer) => Some(*integer),
            Repr::Decimal(decimal) if decimal.is_negative_zero() => Some(0),
            _ => None,
        }
    }

    /// The nearest float; infinite where none is near.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            Repr::Int(integer) => *integer as f64,
            Repr::Float(float) => *float,
            Repr::Big(integer) => integer.to_f64().unwrap_or(f64::INFINITY),
            Repr::Decimal(decimal) => decimal.text().parse().unwrap_or(f64::INFINITY),
        }
    }

    /// The integer this number is by its value (`1.0` and `1e3` are integers), or none.
    pub fn to_bigint(&self) -> Option<BigInt> {
        match &self.0 {
            Repr::Int(integer) => Some(BigInt::from(*integer)),
            Repr::Float(_) => None,
            Repr::Big(integer) => Some(BigInt::clone(integer)),
            Repr::Decimal(decimal) => decimal.to_integer(),
        }
    }

    /// Is its value an integer?
    pub fn is_integer(&self) -> bool {
        match &self.0 {
            Repr::Int(_) | Repr::Big(_) => true,
            Repr::Float(_) => false,
            Repr::Decimal(decimal) => decimal.to_integer().is_some(),
        }
    }

    /// About how many bytes it is stored in.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Repr::Int(_) | Repr::Float(_) => 8,
            Repr::Big(integer) => usize::try_from(integer.bits() / 8).unwrap_or(usize::MAX),
            Repr::Decimal(decimal) => decimal.text().len(),
        }
    }

    /// Less than zero, or written with a minus (`-0`).
    pub fn is_sign_negative(&self) -> bool {
        match &self.0 {
            Repr::Int(integer) => *integer < 0,
            Repr::Float(float) => *float < 0.0,
            Repr::Big(integer) => integer.sign() == num_bigint::Sign::Minus,
            Repr::Decimal(decimal) => decimal.text().starts_with('-'),
        }
    }

    /// Its value as digits × 10^exponent.
    pub(crate) fn to_parts(&self) -> (BigInt, i32) {
        match &self.0 {
            Repr::Int(integer) => (BigInt::from(*integer), 0),
            Repr::Big(integer) => (BigInt::clone(integer), 0),
            Repr::Float(float) => Decimal::parse(&float.to_string()).map_or((BigInt::zero(), 0), Decimal::into_parts),
            Repr::Decimal(decimal) => decimal.parts(),
        }
    }

    fn slow_cmp(&self, other: &Number) -> Ordering {
        Decimal::compare(self.to_parts(), other.to_parts())
    }
}

/// An integer of up to 18 digits in its plain form.
fn small_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let bytes = digits.as_bytes();
    if bytes.is_empty() || bytes.len() > 18 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if bytes.first() == Some(&b'0') && text.len() > 1 {
        return None;
    }
    text.parse().ok()
}

impl Ord for Number {
    #[inline]
    fn cmp(&self, other: &Number) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Int(a), Repr::Int(b)) => a.cmp(b),
            (Repr::Float(a), Repr::Float(b)) => a.total_cmp(b),
            (Repr::Big(a), Repr::Big(b)) => a.cmp(b),
            _ => self.slow_cmp(other),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    #[inline]
    fn eq(&self, other: &Number) -> bool {
        match (&self.0, &other.0) {
            (Repr::Int(a), Repr::Int(b)) => a == b,
            (Repr::Float(a), Repr::Float(b)) => a == b,
            (Repr::Int(_) | Repr::Big(_), Repr::Float(_)) | (Repr::Float(_), Repr::Int(_) | Repr::Big(_)) => false,
            _ => self.slow_cmp(other).is_eq(),
        }
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Repr::Int(integer) = &self.0 {
            return integer.hash(state);
        }
        if let Repr::Float(float) = &self.0 {
            return float.to_bits().hash(state);
        }
        let near = self.to_f64();
        let small = if near.abs() < 9.3e18 && near.fract() == 0.0 { self.to_bigint() } else { None };
        match small.and_then(|integer| integer.to_i64()) {
            Some(small) => small.hash(state),
            None => near.to_bits().hash(state),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Int(integer) => integer.fmt(f),
            Repr::Float(float) => float.fmt(f),
            Repr::Big(integer) => integer.fmt(f),
            Repr::Decimal(decimal) => f.write_str(decimal.text()),
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<i64> for Number {
    fn from(integer: i64) -> Number {
        Number(Repr::Int(integer))
    }
}

impl From<usize> for Number {
    fn from(integer: usize) -> Number {
        i64::try_from(integer).map_or_else(|_| Number::from_bigint(BigInt::from(integer)), Number::from)
    }
}
