//! Arguments of built-in functions by type, with OPA's error texts.

use num_bigint::BigInt;

use super::context::{BuiltinError, ErrorKind};
use crate::value::{Array, Number, Object, Set, Value};

/// An error of an argument: `operand 2 must be …`.
pub(super) fn operand_error(index: usize, text: &str) -> BuiltinError {
    BuiltinError { kind: ErrorKind::Type, message: format!("operand {} {text}", index + 1) }
}

/// An argument of a wrong type.
pub(super) fn type_error(args: &[Value], index: usize, expected: &[&str]) -> BuiltinError {
    let got = args.get(index).map_or("nothing", Value::type_name);
    match expected {
        [one] => operand_error(index, &format!("must be {one} but got {got}")),
        _ => operand_error(index, &format!("must be one of {{{}}} but got {got}", expected.join(", "))),
    }
}

/// An element of a wrong type in a collection.
pub(super) fn element_error(index: usize, collection: &Value, element: &Value, expected: &[&str]) -> BuiltinError {
    let (whole, got) = (collection.type_name(), element.type_name());
    let kinds = match expected {
        [one] => format!("{one}s"),
        _ => format!("(any of) {{{}}}", expected.join(", ")),
    };
    operand_error(index, &format!("must be {whole} of {kinds} but got {whole} containing {got}"))
}

/// Any argument.
pub(super) fn any(args: &[Value], index: usize) -> Result<&Value, BuiltinError> {
    args.get(index).ok_or_else(|| BuiltinError {
        kind: ErrorKind::Internal,
        message: format!("argument {} is missing", index + 1),
    })
}

/// The weight of two arguments.
pub(super) fn both(args: &[Value]) -> Result<u64, BuiltinError> {
    Ok(any(args, 0)?.weight().saturating_add(any(args, 1)?.weight()))
}

pub(super) fn string(args: &[Value], index: usize) -> Result<&str, BuiltinError> {
    any(args, index)?.as_str().ok_or_else(|| type_error(args, index, &["string"]))
}

pub(super) fn number(args: &[Value], index: usize) -> Result<&Number, BuiltinError> {
    any(args, index)?.as_number().ok_or_else(|| type_error(args, index, &["number"]))
}

pub(super) fn array(args: &[Value], index: usize) -> Result<&Array, BuiltinError> {
    any(args, index)?.as_array().ok_or_else(|| type_error(args, index, &["array"]))
}

pub(super) fn object(args: &[Value], index: usize) -> Result<&Object, BuiltinError> {
    any(args, index)?.as_object().ok_or_else(|| type_error(args, index, &["object"]))
}

pub(super) fn set(args: &[Value], index: usize) -> Result<&Set, BuiltinError> {
    any(args, index)?.as_set().ok_or_else(|| type_error(args, index, &["set"]))
}

/// The elements of an array or a set.
pub(super) fn elements(args: &[Value], index: usize) -> Result<&[Value], BuiltinError> {
    items(any(args, index)?).ok_or_else(|| type_error(args, index, &["set", "array"]))
}

/// The elements of an array or a set.
pub(super) fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(array) => Some(array),
        Value::Set(set) => Some(set),
        _ => None,
    }
}

/// An array or a set of strings.
pub(super) fn strings(args: &[Value], index: usize) -> Result<Vec<&str>, BuiltinError> {
    let all = items(any(args, index)?).ok_or_else(|| type_error(args, index, &["array", "set"]))?;
    all.iter().map(|item| string_in(args, index, item)).collect()
}

/// A string as an element of an argument.
pub(super) fn string_in<'a>(args: &[Value], index: usize, item: &'a Value) -> Result<&'a str, BuiltinError> {
    item.as_str().ok_or_else(|| match args.get(index) {
        Some(whole) => element_error(index, whole, item, &["string"]),
        None => operand_error(index, "is missing"),
    })
}

/// An integer that fits in 64 bits.
pub(super) fn int(args: &[Value], index: usize) -> Result<i64, BuiltinError> {
    let number = number(args, index)?;
    small(number).ok_or_else(|| operand_error(index, "must be integer number but got floating-point number"))
}

/// The integer by value, if it fits in 64 bits: `2`, also `2.0`, but not `2e0`.
pub(super) fn small(number: &Number) -> Option<i64> {
    if let Some(small) = number.as_i64() {
        return Some(small);
    }
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.')?;
    if fraction.bytes().all(|byte| byte == b'0') { whole.parse().ok() } else { None }
}

/// An integer of any size.
pub(super) fn big(args: &[Value], index: usize) -> Result<BigInt, BuiltinError> {
    let number = any(args, index)?.as_number().ok_or_else(|| type_error(args, index, &["integer"]))?;
    number.to_bigint().ok_or_else(|| operand_error(index, "must be integer number but got floating-point number"))
}
