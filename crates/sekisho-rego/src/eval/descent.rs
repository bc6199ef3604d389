//! `walk`: each path and value within a value, found one after the other.

use super::val::Val;
use crate::program::Pattern;
use crate::value::Value;

/// Where a search is: the collections from the whole value down, each with the position of its next item.
pub(super) struct Descent<'a> {
    whole: Option<Val<'a>>,
    open: Vec<(Val<'a>, usize)>,
    path: Vec<Value>,
    /// Whether the paths are asked for.
    paths: bool,
}

/// A value and the path to it; null where paths are not asked for.
pub(super) type Below<'a> = (Val<'a>, Val<'a>);

impl<'a> Descent<'a> {
    /// The search through a value, for a pattern of a pair.
    pub(super) fn new(value: Val<'a>, pattern: &Pattern) -> Descent<'a> {
        let paths = match pattern {
            Pattern::Any => false,
            Pattern::Array(parts) => !matches!(parts.first(), Some(Pattern::Any)),
            _ => true,
        };
        Descent { whole: Some(value), open: Vec::new(), path: Vec::new(), paths }
    }

    fn path(&self) -> Val<'a> {
        if self.paths { Val::Own(Value::from(self.path.clone())) } else { Val::NULL }
    }
}

impl<'a> Iterator for Descent<'a> {
    type Item = Below<'a>;

    fn next(&mut self) -> Option<Below<'a>> {
        if let Some(whole) = self.whole.take() {
            if whole.is_collection() {
                self.open.push((whole.clone(), 0));
            }
            return Some((self.path(), whole));
        }
        loop {
            let (collection, position) = self.open.last_mut()?;
            let item = collection.item(*position);
            *position += 1;
            let Some((key, value)) = item else {
                self.open.pop();
                continue;
            };
            if self.paths {
                self.path.truncate(self.open.len() - 1);
                self.path.push(key.into_value());
            }
            if value.is_collection() {
                self.open.push((value.clone(), 0));
            }
            return Some((self.path(), value));
        }
    }
}
