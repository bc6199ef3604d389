//! Objects that rules fill key by key.

use std::collections::BTreeMap;

use crate::value::{Object, Set, Value};

/// An object that is not finished.
#[derive(Default)]
pub(super) struct Partial(BTreeMap<Value, Entry>);

enum Entry {
    Leaf(Value),
    Set(Vec<Value>),
    Below(Partial),
}

impl Partial {
    /// Puts a value, or an element of a set, at a path; false where that contradicts what is there.
    pub(super) fn add(&mut self, path: Vec<Value>, value: Value, element: bool) -> bool {
        let mut place = self;
        let mut keys = path.into_iter().peekable();
        while let Some(key) = keys.next() {
            if keys.peek().is_none() {
                return place.put(key, value, element);
            }
            match place.0.entry(key).or_insert_with(|| Entry::Below(Partial::default())) {
                Entry::Below(below) => place = below,
                Entry::Leaf(_) | Entry::Set(_) => return false,
            }
        }
        false
    }

    fn put(&mut self, key: Value, value: Value, element: bool) -> bool {
        match self.0.get_mut(&key) {
            None => {
                self.0.insert(key, if element { Entry::Set(vec![value]) } else { Entry::Leaf(value) });
                true
            }
            Some(Entry::Set(items)) if element => {
                items.push(value);
                true
            }
            Some(Entry::Leaf(before)) if !element => *before == value,
            Some(Entry::Below(below)) if !element => below.copy() == value,
            Some(_) => false,
        }
    }

    fn copy(&self) -> Value {
        let entry = |entry: &Entry| match entry {
            Entry::Leaf(value) => value.clone(),
            Entry::Set(items) => Value::Set(Set::from_vec(items.clone())),
            Entry::Below(below) => below.copy(),
        };
        Value::Object(self.0.iter().map(|(key, value)| (key.clone(), entry(value))).collect())
    }

    pub(super) fn finish(self) -> Value {
        let entry = |entry: Entry| match entry {
            Entry::Leaf(value) => value,
            Entry::Set(items) => Value::Set(Set::from_vec(items)),
            Entry::Below(below) => below.finish(),
        };
        Value::Object(Object::from_vec(self.0.into_iter().map(|(key, value)| (key, entry(value))).collect()))
    }
}
