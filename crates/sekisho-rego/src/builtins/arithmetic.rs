//! Arithmetic: exact on integers of any size, in floats of 64 bits on fractions.

use num_bigint::{BigInt, Sign};
use num_traits::{ToPrimitive, Zero};

use super::context::{BuiltinError, Context, ErrorKind, Outcome, done, failure};
use super::float::Float;
use super::operand::{any, big, both, number, operand_error, type_error};
use crate::value::{Number, Value};

/// Integers beyond so many bits are refused.
const MAX_BITS: u64 = 1 << 20;

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("plus", plus),
    ("minus", minus),
    ("mul", mul),
    ("div", div),
    ("rem", rem),
    ("abs", abs),
    ("round", round),
    ("ceil", ceil),
    ("floor", round_down),
    ("bits.and", bits_and),
    ("bits.or", bits_or),
    ("bits.xor", bits_xor),
    ("bits.negate", bits_negate),
    ("bits.lsh", bits_lsh),
    ("bits.rsh", bits_rsh),
];

fn too_big() -> BuiltinError {
    failure("number too big")
}

fn float(number: &Number) -> Result<Float, BuiltinError> {
    Float::from_number(number).ok_or_else(too_big)
}

fn from_float(float: Option<Float>) -> Result<Number, BuiltinError> {
    float.and_then(Float::to_number).ok_or_else(too_big)
}

/// An integer as a number, within the bound of size and paid for.
pub(super) fn integer(cx: &mut Context, value: BigInt) -> Result<Number, BuiltinError> {
    if value.bits() > MAX_BITS {
        return Err(too_big());
    }
    cx.spend(value.bits() as usize / 64)?;
    Ok(Number::from_bigint(value))
}

/// The sum of two numbers.
pub(super) fn add(cx: &mut Context, a: &Number, b: &Number) -> Result<Number, BuiltinError> {
    if let (Some(x), Some(y)) = (a.as_i64(), b.as_i64())
        && let Some(sum) = x.checked_add(y)
    {
        return Ok(Number::from(sum));
    }
    match (a.to_bigint(), b.to_bigint()) {
        (Some(x), Some(y)) => integer(cx, x + y),
        _ => from_float(float(a)?.add(float(b)?)),
    }
}

/// The product of two numbers.
pub(super) fn multiply(cx: &mut Context, a: &Number, b: &Number) -> Result<Number, BuiltinError> {
    if let (Some(x), Some(y)) = (a.as_i64(), b.as_i64())
        && let Some(product) = x.checked_mul(y)
    {
        return Ok(Number::from(product));
    }
    match (a.to_bigint(), b.to_bigint()) {
        (Some(x), Some(y)) => {
            let bits = x.bits() + y.bits();
            if bits > MAX_BITS {
                return Err(too_big());
            }
            cx.spend((x.bits() as usize / 64 + 1) * (y.bits() as usize / 64 + 1))?;
            integer(cx, x * y)
        }
        _ => from_float(float(a)?.mul(float(b)?)),
    }
}

fn plus(cx: &mut Context, args: &[Value]) -> Outcome {
    let sum = add(cx, number(args, 0)?, number(args, 1)?)?;
    done(sum)
}

fn mul(cx: &mut Context, args: &[Value]) -> Outcome {
    let product = multiply(cx, number(args, 0)?, number(args, 1)?)?;
    done(product)
}

fn subtract(cx: &mut Context, a: &Number, b: &Number) -> Result<Number, BuiltinError> {
    if let (Some(x), Some(y)) = (a.as_i64(), b.as_i64())
        && let Some(difference) = x.checked_sub(y)
    {
        return Ok(Number::from(difference));
    }
    match (a.to_bigint(), b.to_bigint()) {
        (Some(x), Some(y)) => integer(cx, x - y),
        _ => from_float(float(a)?.add(float(b)?.neg())),
    }
}

fn minus(cx: &mut Context, args: &[Value]) -> Outcome {
    match (any(args, 0)?, any(args, 1)?) {
        (Value::Number(a), Value::Number(b)) => done(subtract(cx, a, b)?),
        (Value::Set(a), Value::Set(b)) => {
            cx.spend_elements(both(args)?)?;
            done(a.difference(b))
        }
        (Value::Set(_), Value::Number(_)) => Err(type_error(args, 1, &["set"])),
        (Value::Number(_) | Value::Set(_), _) => Err(type_error(args, 1, &["number"])),
        _ => Err(type_error(args, 0, &["number", "set"])),
    }
}

fn div(_: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (number(args, 0)?, number(args, 1)?);
    if let (Some(x), Some(y)) = (a.as_i64(), b.as_i64())
        && y != 0
        && x != 0
        && x.checked_rem(y) == Some(0)
        && let Some(quotient) = x.checked_div(y)
    {
        return done(quotient);
    }
    let divisor = float(b)?;
    if divisor.is_zero() {
        return Err(failure("divide by zero"));
    }
    done(from_float(float(a)?.div(divisor))?)
}

fn rem(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (number(args, 0)?, number(args, 1)?);
    let (Some(x), Some(y)) = (a.to_bigint(), b.to_bigint()) else {
        return Err(failure("modulo on floating-point number"));
    };
    if y.is_zero() {
        return Err(failure("modulo by zero"));
    }
    cx.spend((x.bits() / 64) as usize)?;
    done(Number::from_bigint(x % y))
}

fn abs(_: &mut Context, args: &[Value]) -> Outcome {
    let number = number(args, 0)?;
    match number.as_i64().and_then(i64::checked_abs) {
        Some(small) => done(small),
        None => match number.to_bigint() {
            Some(big) => done(Number::from_bigint(BigInt::from_biguint(Sign::Plus, big.magnitude().clone()))),
            None => done(from_float(Some(float(number)?.abs()))?),
        },
    }
}

fn to_whole(args: &[Value], rounding: fn(Float) -> BigInt) -> Outcome {
    let number = number(args, 0)?;
    match number.to_bigint() {
        Some(whole) => done(Number::from_bigint(whole)),
        None => done(Number::from_bigint(rounding(float(number)?))),
    }
}

fn round(_: &mut Context, args: &[Value]) -> Outcome {
    to_whole(args, Float::round)
}

fn ceil(_: &mut Context, args: &[Value]) -> Outcome {
    to_whole(args, Float::ceil)
}

fn round_down(_: &mut Context, args: &[Value]) -> Outcome {
    to_whole(args, Float::round_down)
}

fn bits_and(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = integer(cx, big(args, 0)? & big(args, 1)?)?;
    done(value)
}

fn bits_or(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = integer(cx, big(args, 0)? | big(args, 1)?)?;
    done(value)
}

fn bits_xor(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = integer(cx, big(args, 0)? ^ big(args, 1)?)?;
    done(value)
}

fn bits_negate(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = integer(cx, !big(args, 0)?)?;
    done(value)
}

/// The distance of a shift; none where it is beyond every number of ours.
fn shift(args: &[Value]) -> Result<Option<u64>, BuiltinError> {
    let distance = big(args, 1)?;
    if distance.sign() == Sign::Minus {
        return Err(operand_error(1, "must be an unsigned integer number but got a negative integer"));
    }
    Ok(distance.to_u64().filter(|distance| *distance <= MAX_BITS))
}

fn bits_lsh(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = big(args, 0)?;
    match shift(args)? {
        Some(distance) => done(integer(cx, value << distance)?),
        None if value.is_zero() => done(0_i64),
        None => Err(BuiltinError { kind: ErrorKind::Builtin, message: "number too big".to_owned() }),
    }
}

fn bits_rsh(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = big(args, 0)?;
    match shift(args)? {
        Some(distance) => done(integer(cx, value >> distance)?),
        None if value.sign() == Sign::Minus => done(-1_i64),
        None => done(0_i64),
    }
}
