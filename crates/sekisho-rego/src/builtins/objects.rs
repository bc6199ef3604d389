//! `object.*`.

use super::context::{BuiltinError, Context, ErrorKind, Outcome, done};
use super::operand::{any, array, both, element_error, object, type_error};
use crate::value::{Array, Object, Set, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("object.get", get),
    ("object.keys", keys),
    ("object.union", union),
    ("object.union_n", union_n),
    ("object.remove", remove),
    ("object.filter", filter),
    ("object.subset", subset),
];

fn get(_: &mut Context, args: &[Value]) -> Outcome {
    let object = object(args, 0)?;
    let (path, default) = (any(args, 1)?, any(args, 2)?);
    let found = match path {
        Value::Array(keys) => keys.iter().try_fold(any(args, 0)?, |value, key| value.get(key)),
        key => object.get(key),
    };
    done(found.unwrap_or(default).clone())
}

fn keys(cx: &mut Context, args: &[Value]) -> Outcome {
    let object = object(args, 0)?;
    cx.spend_elements(object.len() as u64)?;
    done(object.keys().cloned().collect::<Set>())
}

/// All members of both; where both have a key the later wins, or both values are merged if they are objects.
fn merge(cx: &mut Context, first: &Object, second: &Object) -> Result<Object, BuiltinError> {
    cx.spend_elements((first.len() + second.len()) as u64)?;
    let mut members = Vec::with_capacity(first.len() + second.len());
    for (key, value) in first.iter() {
        match (value, second.get(key)) {
            (_, None) => members.push((key.clone(), value.clone())),
            (Value::Object(a), Some(Value::Object(b))) => members.push((key.clone(), Value::from(merge(cx, a, b)?))),
            (_, Some(other)) => members.push((key.clone(), other.clone())),
        }
    }
    let added = second.iter().filter(|(key, _)| first.get(key).is_none());
    members.extend(added.map(|(key, value)| (key.clone(), value.clone())));
    Ok(Object::from_vec(members))
}

fn union(cx: &mut Context, args: &[Value]) -> Outcome {
    let merged = merge(cx, object(args, 0)?, object(args, 1)?)?;
    done(merged)
}

fn union_n(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut total = Object::default();
    for item in array(args, 0)?.iter() {
        let Some(next) = item.as_object() else {
            return Err(element_error(0, any(args, 0)?, item, &["object"]));
        };
        total = merge(cx, &total, next)?;
    }
    done(total)
}

/// The keys that an array, a set or an object names.
fn named_keys(cx: &mut Context, args: &[Value]) -> Result<Set, BuiltinError> {
    let keys: Set = match any(args, 1)? {
        Value::Array(items) => items.iter().cloned().collect(),
        Value::Set(items) => items.clone(),
        Value::Object(object) => object.keys().cloned().collect(),
        _ => return Err(type_error(args, 1, &["object", "set", "array"])),
    };
    cx.spend_order(any(args, 1)?.weight(), keys.len())?;
    Ok(keys)
}

fn kept(cx: &mut Context, args: &[Value], named: bool) -> Outcome {
    let object = object(args, 0)?;
    let keys = named_keys(cx, args)?;
    cx.spend_elements(object.len() as u64)?;
    let members = object.iter().filter(|(key, _)| keys.contains(key) == named);
    done(members.map(|(key, value)| (key.clone(), value.clone())).collect::<Object>())
}

fn remove(cx: &mut Context, args: &[Value]) -> Outcome {
    kept(cx, args, false)
}

fn filter(cx: &mut Context, args: &[Value]) -> Outcome {
    kept(cx, args, true)
}

fn subset(cx: &mut Context, args: &[Value]) -> Outcome {
    let holds = match (any(args, 0)?, any(args, 1)?) {
        (Value::Object(whole), Value::Object(part)) => object_subset(cx, whole, part)?,
        (Value::Set(whole), Value::Set(part)) => set_subset(cx, whole, part)?,
        (Value::Array(whole), Value::Array(part)) => array_subset(cx, whole, part)?,
        (Value::Array(whole), Value::Set(part)) => {
            cx.spend_elements(both(args)?)?;
            let found: Set = whole.iter().filter(|item| part.contains(item)).cloned().collect();
            found.len() == part.len() && !whole.is_empty()
        }
        _ => {
            let message = "both arguments object.subset must be of the same type or array and set".to_owned();
            return Err(BuiltinError { kind: ErrorKind::Type, message });
        }
    };
    done(holds)
}

fn object_subset(cx: &mut Context, whole: &Object, part: &Object) -> Result<bool, BuiltinError> {
    for (key, value) in part.iter() {
        cx.spend(2)?;
        let holds = match (whole.get(key), value) {
            (None, _) => false,
            (Some(Value::Object(whole)), Value::Object(part)) => object_subset(cx, whole, part)?,
            (Some(Value::Set(whole)), Value::Set(part)) => set_subset(cx, whole, part)?,
            (Some(Value::Array(whole)), Value::Array(part)) => array_subset(cx, whole, part)?,
            (Some(other), value) => {
                cx.spend_elements(other.weight().min(value.weight()))?;
                other == value
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_subset(cx: &mut Context, whole: &Set, part: &Set) -> Result<bool, BuiltinError> {
    cx.spend_elements(part.len() as u64)?;
    Ok(part.iter().all(|item| whole.contains(item)))
}

/// The part is a run of elements of the whole.
fn array_subset(cx: &mut Context, whole: &Array, part: &Array) -> Result<bool, BuiltinError> {
    cx.spend_elements(whole.len() as u64)?;
    cx.spend(whole.len().saturating_mul(part.len()))?;
    Ok(part.is_empty() || whole.windows(part.len()).any(|run| run == &**part))
}
