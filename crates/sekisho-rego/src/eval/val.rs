//! A value that is borrowed from the program, the data or the input where it can be.

use std::ops::Deref;

use crate::value::Value;

/// Borrowed values cost no reference count, neither here nor between threads.
#[derive(Clone)]
pub(super) enum Val<'a> {
    Ref(&'a Value),
    Own(Value),
}

static NULL: Value = Value::Null;
static TRUE: Value = Value::Bool(true);
static FALSE: Value = Value::Bool(false);

impl<'a> Val<'a> {
    pub(super) const NULL: Val<'static> = Val::Ref(&NULL);

    pub(super) fn bool(flag: bool) -> Val<'a> {
        Val::Ref(if flag { &TRUE } else { &FALSE })
    }

    pub(super) fn get(&self, key: &Value) -> Option<Val<'a>> {
        match self {
            Val::Ref(value) => value.get(key).map(Val::Ref),
            Val::Own(value) => value.get(key).cloned().map(Val::Own),
        }
    }

    pub(super) fn into_value(self) -> Value {
        match self {
            Val::Ref(value) => value.clone(),
            Val::Own(value) => value,
        }
    }

    /// The item of a collection at a position, with its key; none past the end and for what is not a collection.
    pub(super) fn item(&self, at: usize) -> Option<(Val<'a>, Val<'a>)> {
        match self {
            Val::Ref(value) => {
                item(value, at).map(|(key, item)| (key.map_or_else(|| index(at), Val::Ref), Val::Ref(item)))
            }
            Val::Own(value) => item(value, at).map(|(key, item)| {
                (key.map_or_else(|| index(at), |key| Val::Own(key.clone())), Val::Own(item.clone()))
            }),
        }
    }

    pub(super) fn is_collection(&self) -> bool {
        matches!(&**self, Value::Array(_) | Value::Object(_) | Value::Set(_))
    }

    pub(super) fn is_false(&self) -> bool {
        matches!(&**self, Value::Bool(false))
    }
}

fn index<'a>(at: usize) -> Val<'a> {
    Val::Own(Value::from(at))
}

fn item(value: &Value, at: usize) -> Option<(Option<&Value>, &Value)> {
    match value {
        Value::Array(items) => items.get(at).map(|item| (None, item)),
        Value::Set(items) => items.as_slice().get(at).map(|item| (Some(item), item)),
        Value::Object(members) => members.members().get(at).map(|(key, value)| (Some(key), value)),
        _ => None,
    }
}

impl Deref for Val<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Val::Ref(value) => value,
            Val::Own(value) => value,
        }
    }
}
