//! Binary floating-point numbers with a mantissa of 64 bits, in which OPA computes with fractions.

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{Pow, ToPrimitive, Zero};

use crate::value::Number;

/// The widest mantissa.
const BITS: u64 = 64;
/// No number has a binary exponent beyond this.
const MAX_EXPONENT: i64 = 400_000;
/// A decimal of so many digits identifies each mantissa.
const MAX_DIGITS: u32 = 21;

/// `mantissa × 2^exponent`, where the top bit of the mantissa is set, or zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Float {
    negative: bool,
    mantissa: u64,
    exponent: i64,
}

impl Float {
    pub(super) fn from_number(number: &Number) -> Option<Float> {
        let (digits, power) = number.to_parts();
        let negative = number.is_sign_negative();
        let digits = digits.magnitude().clone();
        let scale = BigUint::from(10u8).pow(power.unsigned_abs());
        let (numerator, denominator) = if power >= 0 { (digits * scale, BigUint::from(1u8)) } else { (digits, scale) };
        Float::from_ratio(negative, &numerator, &denominator)
    }

    pub(super) fn from_integer(integer: &BigInt) -> Option<Float> {
        Float::rounded(integer.sign() == Sign::Minus, integer.magnitude().clone(), 0, false)
    }

    fn from_ratio(negative: bool, numerator: &BigUint, denominator: &BigUint) -> Option<Float> {
        let gap = i64::try_from(numerator.bits()).ok()? - i64::try_from(denominator.bits()).ok()?;
        let shift = 66 - gap;
        let (top, bottom) = if shift >= 0 {
            (numerator << shift.unsigned_abs(), denominator.clone())
        } else {
            (numerator.clone(), denominator << shift.unsigned_abs())
        };
        if bottom.is_zero() {
            return None;
        }
        let quotient = &top / &bottom;
        let inexact = &quotient * &bottom != top;
        Float::rounded(negative, quotient, -shift, inexact)
    }

    /// Rounds to the nearest, ties to even. `inexact`: something greater than zero follows the digits, and there are
    /// more digits than a mantissa has bits.
    fn rounded(negative: bool, digits: BigUint, exponent: i64, inexact: bool) -> Option<Float> {
        if digits.is_zero() {
            return Some(Float { negative, mantissa: 0, exponent: 0 });
        }
        let bits = digits.bits();
        let (mantissa, exponent) = if bits <= BITS {
            let small = digits.to_u64()?;
            (small << (BITS - bits), exponent - i64::try_from(BITS - bits).ok()?)
        } else {
            let extra = bits - BITS;
            let kept = (&digits >> extra).to_u64()?;
            let rest = &digits - (BigUint::from(kept) << extra);
            let half = BigUint::from(1u8) << (extra - 1);
            let up = rest > half || rest == half && (inexact || kept % 2 == 1);
            let exponent = exponent + i64::try_from(extra).ok()?;
            match kept.checked_add(u64::from(up)) {
                Some(sum) => (sum, exponent),
                None => (1 << (BITS - 1), exponent + 1),
            }
        };
        (exponent.abs() <= MAX_EXPONENT).then_some(Float { negative, mantissa, exponent })
    }

    pub(super) fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    pub(super) fn neg(self) -> Float {
        Float { negative: !self.negative, ..self }
    }

    pub(super) fn abs(self) -> Float {
        Float { negative: false, ..self }
    }

    /// The value as an integer multiple of `2^low`, for `low` not above the exponent.
    fn scaled(self, low: i64) -> BigInt {
        let magnitude = BigUint::from(self.mantissa) << (self.exponent - low).unsigned_abs();
        BigInt::from_biguint(if self.negative { Sign::Minus } else { Sign::Plus }, magnitude)
    }

    pub(super) fn add(self, other: Float) -> Option<Float> {
        if self.is_zero() && other.is_zero() {
            return Some(Float { negative: self.negative && other.negative, ..self });
        }
        if other.is_zero() {
            return Some(self);
        }
        if self.is_zero() {
            return Some(other);
        }
        let low = self.exponent.min(other.exponent);
        let sum = self.scaled(low) + other.scaled(low);
        Float::rounded(sum.sign() == Sign::Minus, sum.magnitude().clone(), low, false)
    }

    pub(super) fn mul(self, other: Float) -> Option<Float> {
        let product = BigUint::from(self.mantissa) * other.mantissa;
        Float::rounded(self.negative != other.negative, product, self.exponent + other.exponent, false)
    }

    pub(super) fn div(self, other: Float) -> Option<Float> {
        let quotient = Float::from_ratio(
            self.negative != other.negative,
            &BigUint::from(self.mantissa),
            &BigUint::from(other.mantissa),
        )?;
        if quotient.is_zero() {
            return Some(quotient);
        }
        let exponent = quotient.exponent + self.exponent - other.exponent;
        (exponent.abs() <= MAX_EXPONENT).then_some(Float { exponent, ..quotient })
    }

    /// The integer part, towards zero.
    pub(super) fn truncated(self) -> BigInt {
        let magnitude = if self.exponent >= 0 {
            BigUint::from(self.mantissa) << self.exponent.unsigned_abs()
        } else if self.exponent.unsigned_abs() >= BITS {
            BigUint::zero()
        } else {
            BigUint::from(self.mantissa >> self.exponent.unsigned_abs())
        };
        BigInt::from_biguint(if self.negative { Sign::Minus } else { Sign::Plus }, magnitude)
    }

    pub(super) fn is_integer(self) -> bool {
        self.is_zero() || self.exponent >= 0 || i64::from(self.mantissa.trailing_zeros()) >= -self.exponent
    }

    /// Halves go away from zero.
    pub(super) fn round(self) -> BigInt {
        let half = Float { negative: self.negative, mantissa: 1 << (BITS - 1), exponent: -64 };
        self.add(half).unwrap_or(self).truncated()
    }

    pub(super) fn ceil(self) -> BigInt {
        let whole = self.truncated();
        if self.is_integer() || self.negative { whole } else { whole + 1 }
    }

    pub(super) fn round_down(self) -> BigInt {
        let whole = self.truncated();
        if self.is_integer() || !self.negative { whole } else { whole - 1 }
    }

    /// The number with the shortest text that is read as this float.
    pub(super) fn to_number(self) -> Option<Number> {
        if self.is_zero() && self.negative {
            return Number::parse("-0");
        }
        if self.is_integer() {
            return Some(Number::from_bigint(self.truncated()));
        }
        let (digits, point) = self.shortest()?;
        Number::parse(&layout(self.negative, &digits, point))
    }

    /// The fewest digits `d` and the position of the point in `0.d × 10^point` that are read as this float.
    fn shortest(self) -> Option<(String, i64)> {
        // Twice the distance between neighbours: the bounds are odd multiples.
        let (value, unit) = (BigUint::from(self.mantissa) * 4u8, BigUint::from(1u8));
        let low_step = if self.mantissa == 1 << (BITS - 1) { 1u8 } else { 2u8 };
        let exponent = self.exponent - 2;
        let (mut scale, mut factor) = (unit.clone(), unit);
        if exponent >= 0 {
            factor <<= exponent.unsigned_abs();
        } else {
            scale <<= exponent.unsigned_abs();
        }
        // value × factor / scale, and its bounds
        let exact = &value * &factor;
        let (lower, upper) = ((&value - low_step) * &factor, (&value + 2u8) * &factor);
        let inclusive = self.mantissa.is_multiple_of(2);
        let inside = |candidate: &BigUint| {
            if inclusive {
                *candidate >= lower && *candidate <= upper
            } else {
                *candidate > lower && *candidate < upper
            }
        };
        let point = decimal_exponent(&exact, &scale);
        for count in 1..=MAX_DIGITS {
            let power = point - i64::from(count);
            let ten = BigUint::from(10u8).pow(power.unsigned_abs());
            // One step of the last digit, in units of 1/scale; for a negative power all sides are multiplied instead.
            let (step, lift) = if power >= 0 { (&scale * &ten, BigUint::from(1u8)) } else { (scale.clone(), ten) };
            let down = (&exact * &lift) / &step;
            let rest = &exact * &lift - &down * &step;
            let nearest_up = &rest * 2u8 > step || &rest * 2u8 == step && down.bit(0);
            let up = &down + 1u8;
            let order = if nearest_up { [up, down] } else { [down, up] };
            for candidate in order {
                let scaled = &candidate * &step;
                let fits = if lift == BigUint::from(1u8) {
                    inside(&scaled)
                } else {
                    let (lower, upper) = (&lower * &lift, &upper * &lift);
                    if inclusive { scaled >= lower && scaled <= upper } else { scaled > lower && scaled < upper }
                };
                if fits {
                    let digits = candidate.to_string();
                    let grown = i64::try_from(digits.len()).ok()? - i64::from(count);
                    return Some((digits.trim_end_matches('0').to_owned(), point + grown));
                }
            }
        }
        None
    }
}

/// The power of ten above `numerator / denominator`: the value is `0.d × 10^result`.
fn decimal_exponent(numerator: &BigUint, denominator: &BigUint) -> i64 {
    let bits = numerator.bits() as i64 - denominator.bits() as i64;
    let mut guess = bits * 30_103 / 100_000;
    let at_least = |power: i64| {
        let ten = BigUint::from(10u8).pow(power.unsigned_abs());
        if power >= 0 { *numerator >= denominator * ten } else { numerator * ten >= *denominator }
    };
    while at_least(guess) {
        guess += 1;
    }
    while !at_least(guess - 1) {
        guess -= 1;
    }
    guess
}

/// The text of `0.digits × 10^point`: plain for exponents from −4 to 5, else scientific.
fn layout(negative: bool, digits: &str, point: i64) -> String {
    let sign = if negative { "-" } else { "" };
    let exponent = point - 1;
    if !(-4..6).contains(&exponent) {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let dot = if rest.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{dot}{rest}e{mark}{:02}", exponent.abs());
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    }
    let (whole, fraction) = digits.split_at_checked(point as usize).unwrap_or((digits, ""));
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(text: &str) -> Float {
        Float::from_number(&Number::parse(text).expect("number")).expect("float")
    }

    fn text(float: Option<Float>) -> String {
        float.and_then(Float::to_number).expect("number").to_string()
    }

    #[test]
    fn fractions_have_sixty_four_bits() {
        assert_eq!(text(float("1").div(float("3"))), "0.33333333333333333334");
        assert_eq!(text(float("0.1").add(float("0.2"))), "0.3");
        assert_eq!(text(float("2.5").mul(float("4"))), "10");
        assert_eq!(text(float("1e-7").mul(float("1.5"))), "1.5e-07");
    }

    #[test]
    fn rounding_goes_away_from_zero() {
        let rounded =
            |t: &str| (float(t).round().to_string(), float(t).ceil().to_string(), float(t).round_down().to_string());
        assert_eq!(rounded("2.5"), ("3".into(), "3".into(), "2".into()));
        assert_eq!(rounded("-2.5"), ("-3".into(), "-2".into(), "-3".into()));
        assert_eq!(rounded("0.2"), ("0".into(), "1".into(), "0".into()));
    }
}
