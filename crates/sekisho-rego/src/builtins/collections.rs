//! Aggregates, arrays and sets.

use super::arithmetic::{add, multiply};
use super::context::{BuiltinError, Context, Outcome, done};
use super::operand::{any, array, both, element_error, elements, int, items, set, type_error};
use crate::value::{Array, Number, Set, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("count", count),
    ("sum", sum),
    ("product", product),
    ("max", max),
    ("min", min),
    ("sort", sort),
    ("all", all),
    ("any", any_true),
    ("internal.member_2", member_2),
    ("internal.member_3", member_3),
    ("array.concat", array_concat),
    ("array.flatten", array_flatten),
    ("array.reverse", array_reverse),
    ("array.slice", array_slice),
    ("and", and),
    ("or", or),
    ("set_diff", set_diff),
    ("intersection", intersection),
    ("union", union),
];

fn count(cx: &mut Context, args: &[Value]) -> Outcome {
    match any(args, 0)? {
        Value::Array(array) => done(array.len()),
        Value::Object(object) => done(object.len()),
        Value::Set(set) => done(set.len()),
        Value::String(text) => {
            cx.spend(text.len() / 16)?;
            done(text.chars().count())
        }
        _ => Err(type_error(args, 0, &["array", "object", "set", "string"])),
    }
}

/// Folds numbers: exactly if all are integers, else as floats from the first on.
fn fold(
    cx: &mut Context,
    args: &[Value],
    start: i64,
    step: fn(&mut Context, &Number, &Number) -> Result<Number, BuiltinError>,
) -> Outcome {
    let all = elements(args, 0)?;
    cx.spend_elements(any(args, 0)?.weight())?;
    let mut total = Number::from(start);
    for item in all {
        let Some(number) = item.as_number() else {
            return Err(element_error(0, any(args, 0)?, item, &["number"]));
        };
        total = step(cx, &total, number)?;
    }
    done(total)
}

fn sum(cx: &mut Context, args: &[Value]) -> Outcome {
    fold(cx, args, 0, add)
}

fn product(cx: &mut Context, args: &[Value]) -> Outcome {
    fold(cx, args, 1, multiply)
}

fn max(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = elements(args, 0)?;
    cx.spend_elements(any(args, 0)?.weight())?;
    Ok(all.iter().max().cloned())
}

fn min(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = elements(args, 0)?;
    cx.spend_elements(any(args, 0)?.weight())?;
    Ok(all.iter().min().cloned())
}

fn sort(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = elements(args, 0)?;
    cx.spend_order(any(args, 0)?.weight(), all.len())?;
    let mut sorted = all.to_vec();
    sorted.sort();
    done(sorted)
}

fn all(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = items(any(args, 0)?).ok_or_else(|| type_error(args, 0, &["array", "set"]))?;
    cx.spend(all.len())?;
    done(all.iter().all(|item| *item == Value::Bool(true)))
}

fn any_true(cx: &mut Context, args: &[Value]) -> Outcome {
    let all = items(any(args, 0)?).ok_or_else(|| type_error(args, 0, &["array", "set"]))?;
    cx.spend(all.len())?;
    done(all.contains(&Value::Bool(true)))
}

fn member_2(cx: &mut Context, args: &[Value]) -> Outcome {
    let item = any(args, 0)?;
    match any(args, 1)? {
        Value::Set(set) => done(set.contains(item)),
        Value::Array(array) => {
            cx.spend_elements(any(args, 1)?.weight())?;
            done(array.iter().any(|other| other == item))
        }
        Value::Object(object) => {
            cx.spend_elements(any(args, 1)?.weight())?;
            done(object.values().any(|other| other == item))
        }
        _ => done(false),
    }
}

fn member_3(_: &mut Context, args: &[Value]) -> Outcome {
    let (key, item) = (any(args, 0)?, any(args, 1)?);
    match any(args, 2)? {
        Value::Set(set) => done(key == item && set.contains(key)),
        collection => done(collection.get(key) == Some(item)),
    }
}

fn array_concat(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (array(args, 0)?, array(args, 1)?);
    cx.spend_elements((a.len() + b.len()) as u64)?;
    done(a.iter().chain(b.iter()).cloned().collect::<Array>())
}

fn array_flatten(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut flat = Vec::new();
    for item in array(args, 0)?.iter() {
        match item {
            Value::Array(nested) => {
                cx.spend_elements(nested.len() as u64)?;
                flat.extend(nested.iter().cloned());
            }
            _ => flat.push(item.clone()),
        }
    }
    cx.spend_elements(flat.len() as u64)?;
    done(flat)
}

fn array_reverse(cx: &mut Context, args: &[Value]) -> Outcome {
    let items = array(args, 0)?;
    cx.spend_elements(items.len() as u64)?;
    done(items.iter().rev().cloned().collect::<Array>())
}

fn array_slice(cx: &mut Context, args: &[Value]) -> Outcome {
    let items = array(args, 0)?;
    let (start, stop) = (int(args, 1)?, int(args, 2)?);
    let stop = usize::try_from(stop.max(0)).unwrap_or(usize::MAX).min(items.len());
    let start = usize::try_from(start.max(0)).unwrap_or(usize::MAX).min(stop);
    cx.spend_elements((stop - start) as u64)?;
    done(items.get(start..stop).unwrap_or_default().to_vec())
}

fn and(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (set(args, 0)?, set(args, 1)?);
    cx.spend_elements(both(args)?)?;
    done(a.intersection(b))
}

fn or(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (set(args, 0)?, set(args, 1)?);
    cx.spend_elements(both(args)?)?;
    done(a.union(b))
}

fn set_diff(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (set(args, 0)?, set(args, 1)?);
    cx.spend_elements(both(args)?)?;
    done(a.difference(b))
}

/// The sets in a set.
fn nested(args: &[Value]) -> Result<Vec<&Set>, BuiltinError> {
    set(args, 0)?
        .iter()
        .map(|item| item.as_set().ok_or_else(|| type_error(std::slice::from_ref(item), 0, &["set"])))
        .collect()
}

fn intersection(cx: &mut Context, args: &[Value]) -> Outcome {
    let sets = nested(args)?;
    cx.spend_elements(any(args, 0)?.weight())?;
    let mut rest = sets.into_iter();
    let first = rest.next().cloned().unwrap_or_default();
    done(rest.fold(first, |common, set| common.intersection(set)))
}

fn union(cx: &mut Context, args: &[Value]) -> Outcome {
    let sets = nested(args)?;
    cx.spend_order(any(args, 0)?.weight(), sets.iter().map(|set| set.len()).sum())?;
    done(sets.into_iter().flat_map(|set| set.iter().cloned()).collect::<Set>())
}
