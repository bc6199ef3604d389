//! The value, and what its collections are made of.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::array::List;
use super::number::Number;
use super::object::{Members, MembersBuilder};
use super::set::Distinct;
use super::shared::{Item, Measure};

/// An ordered list of values; reads as a slice.
pub type Array = List<Value>;

/// Keys in ascending order, each with a value.
pub type Object = Members<Value, Value>;

/// Collects members; the last value of a key wins.
pub type ObjectBuilder = MembersBuilder<Value, Value>;

/// Distinct values in ascending order; reads as a sorted slice.
pub type Set = Distinct<Value>;

/// A value of Rego. Cloning copies at most a pointer.
#[derive(Clone, Default)]
pub enum Value {
    /// JSON's null.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A number of any size.
    Number(Number),
    /// A text.
    String(Arc<str>),
    /// An ordered list.
    Array(Array),
    /// Keys of any kind, each with a value.
    Object(Object),
    /// Distinct values.
    Set(Set),
}

impl Value {
    /// The name of its type as Rego's `type_name` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Set(_) => "set",
        }
    }

    /// A string.
    pub fn string(text: impl Into<Arc<str>>) -> Value {
        Value::String(text.into())
    }

    /// The object without keys.
    pub fn empty_object() -> Value {
        Value::Object(Object::default())
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The integer, if it is written as one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    /// True or false.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The set.
    pub fn as_set(&self) -> Option<&Set> {
        match self {
            Value::Set(set) => Some(set),
            _ => None,
        }
    }

    /// What a reference finds below this value by one key: an element by its index, a member's value by its key, a
    /// set's element by itself.
    #[inline]
    pub fn get(&self, key: &Value) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get(key),
            Value::Array(array) => array.get(usize::try_from(key.as_i64()?).ok()?),
            Value::Set(set) => set.get(key),
            _ => None,
        }
    }

    /// How much it holds: values, itself included, and blocks of 256 bytes in texts and long numbers; what appears
    /// twice counts twice.
    #[must_use]
    pub fn weight(&self) -> u64 {
        Item::measure(self).weight
    }

    /// How deep collections are nested in it; zero for a scalar.
    #[must_use]
    pub fn depth(&self) -> u32 {
        Item::measure(self).depth
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
            Value::Set(_) => 6,
        }
    }
}

impl Item for Value {
    fn measure(&self) -> Measure {
        match self {
            Value::Array(array) => array.measure(),
            Value::Object(object) => object.measure(),
            Value::Set(set) => set.measure(),
            Value::String(text) => Measure::of_bytes(text.len()),
            Value::Number(number) => Measure::of_bytes(number.bytes()),
            Value::Null | Value::Bool(_) => Measure::of_bytes(0),
        }
    }
}

impl Object {
    /// The value of a key.
    #[inline]
    pub fn get(&self, key: &Value) -> Option<&Value> {
        match key {
            Value::String(text) => self.get_str(text),
            _ => self.find(|other| other.cmp(key)),
        }
    }

    /// The value of a key that is a string.
    #[inline]
    pub fn get_str(&self, key: &str) -> Option<&Value> {
        self.find(|other| match other {
            Value::String(text) => (**text).cmp(key),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ordering::Less,
            _ => Ordering::Greater,
        })
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => a.cmp(b),
            (Value::Object(a), Value::Object(b)) => a.cmp(b),
            (Value::Set(a), Value::Set(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    #[inline]
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::String(a), Value::String(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => a == b,
            (Value::Set(a), Value::Set(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Value::Null => {}
            Value::Bool(flag) => flag.hash(state),
            Value::Number(number) => number.hash(state),
            Value::String(text) => text.hash(state),
            Value::Array(array) => array.hash(state),
            Value::Object(object) => object.hash(state),
            Value::Set(set) => set.hash(state),
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Bool(flag)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Value {
        Value::Number(Number::from(integer))
    }
}

impl From<usize> for Value {
    fn from(integer: usize) -> Value {
        Value::Number(Number::from(integer))
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Value {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Value {
        Value::Array(Array::from(items))
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Value::Array(array)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value::Object(object)
    }
}

impl From<Set> for Value {
    fn from(set: Set) -> Value {
        Value::Set(set)
    }
}
