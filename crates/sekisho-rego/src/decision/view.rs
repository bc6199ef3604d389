//! Values at places of the input, borrowed, and the constants that they are compared with.

use std::cmp::Ordering;
use std::hash::Hasher;
use std::sync::Arc;

use crate::value::hash::FastHasher;

/// The value at one place of the input. Copying it copies at most a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View<'a> {
    /// The input has nothing there.
    Undefined,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(&'a str),
    /// A list of texts.
    Texts(&'a [String]),
}

/// A constant of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(Arc<str>),
    /// A list of texts.
    Texts(Box<[Arc<str>]>),
}

const BOOL: u8 = 1;
const INTEGER: u8 = 2;
const TEXT: u8 = 3;
const TEXTS: u8 = 4;

impl<'a> View<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            View::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a number for a table; equal for equal values.
    pub(super) fn hash(self) -> u64 {
        let mut hasher = FastHasher::default();
        match self {
            View::Undefined => {}
            View::Bool(flag) => hash_bool(&mut hasher, flag),
            View::Integer(number) => hash_integer(&mut hasher, number),
            View::Text(text) => hash_text(&mut hasher, text),
            View::Texts(texts) => hash_texts(&mut hasher, texts.iter().map(String::as_str)),
        }
        hasher.finish()
    }

    /// The order of Rego, where two values of their kinds have one here.
    pub(super) fn order(self, other: View<'_>) -> Option<Ordering> {
        match (self, other) {
            (View::Bool(a), View::Bool(b)) => Some(a.cmp(&b)),
            (View::Integer(a), View::Integer(b)) => Some(a.cmp(&b)),
            (View::Text(a), View::Text(b)) => Some(a.cmp(b)),
            (View::Texts(a), View::Texts(b)) => Some(a.cmp(b)),
            _ => self.rank().zip(other.rank()).map(|(a, b)| a.cmp(&b)),
        }
    }

    /// Values of different kinds are ordered by kind.
    fn rank(self) -> Option<u8> {
        match self {
            View::Undefined => None,
            View::Bool(_) => Some(BOOL),
            View::Integer(_) => Some(INTEGER),
            View::Text(_) => Some(TEXT),
            View::Texts(_) => Some(TEXTS),
        }
    }
}

impl Key {
    pub(super) fn is(&self, view: View<'_>) -> bool {
        match (self, view) {
            (Key::Bool(a), View::Bool(b)) => *a == b,
            (Key::Integer(a), View::Integer(b)) => *a == b,
            (Key::Text(a), View::Text(b)) => **a == *b,
            (Key::Texts(a), View::Texts(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| **a == **b),
            _ => false,
        }
    }

    /// The same value as a view; none for a list.
    pub(super) fn view(&self) -> Option<View<'_>> {
        match self {
            Key::Bool(flag) => Some(View::Bool(*flag)),
            Key::Integer(number) => Some(View::Integer(*number)),
            Key::Text(text) => Some(View::Text(text)),
            Key::Texts(_) => None,
        }
    }

    /// The hash of the views that are this value.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = FastHasher::default();
        match self {
            Key::Bool(flag) => hash_bool(&mut hasher, *flag),
            Key::Integer(number) => hash_integer(&mut hasher, *number),
            Key::Text(text) => hash_text(&mut hasher, text),
            Key::Texts(texts) => hash_texts(&mut hasher, texts.iter().map(|text| &**text)),
        }
        hasher.finish()
    }
}

fn hash_bool(hasher: &mut FastHasher, flag: bool) {
    hasher.write_u8(BOOL);
    hasher.write_u8(u8::from(flag));
}

fn hash_integer(hasher: &mut FastHasher, number: i64) {
    hasher.write_u8(INTEGER);
    hasher.write_i64(number);
}

fn hash_text(hasher: &mut FastHasher, text: &str) {
    hasher.write_u8(TEXT);
    hasher.write(text.as_bytes());
}

fn hash_texts<'a>(hasher: &mut FastHasher, texts: impl ExactSizeIterator<Item = &'a str>) {
    hasher.write_u8(TEXTS);
    hasher.write_usize(texts.len());
    texts.for_each(|text| hash_text(hasher, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_hashes() {
        let texts = ["v1".to_owned(), "transactions".to_owned()];
        let keys = [
            Key::Bool(true),
            Key::Bool(false),
            Key::Integer(0),
            Key::Integer(-7),
            Key::Text("".into()),
            Key::Text("transactions".into()),
            Key::Texts(Box::new([])),
            Key::Texts(texts.iter().map(|text| text.as_str().into()).collect()),
        ];
        let views = [
            View::Bool(true),
            View::Bool(false),
            View::Integer(0),
            View::Integer(-7),
            View::Text(""),
            View::Text("transactions"),
            View::Texts(&[]),
            View::Texts(&texts),
        ];
        for (a, key) in keys.iter().enumerate() {
            for (b, view) in views.iter().enumerate() {
                assert_eq!(key.is(*view), a == b, "{key:?} {view:?}");
                assert_eq!(key.hash() == view.hash(), a == b, "{key:?} {view:?}");
            }
            assert!(!key.is(View::Undefined));
        }
    }

    #[test]
    fn kinds_are_ordered_as_in_rego() {
        let one = ["a".to_owned()];
        let ascending = [
            View::Bool(false),
            View::Bool(true),
            View::Integer(-1),
            View::Integer(2),
            View::Text("a"),
            View::Texts(&one),
        ];
        for (a, left) in ascending.iter().enumerate() {
            for (b, right) in ascending.iter().enumerate() {
                assert_eq!(left.order(*right), Some(a.cmp(&b)), "{left:?} {right:?}");
            }
        }
        assert_eq!(View::Undefined.order(View::Bool(true)), None);
    }
}
