//! The tables of an index: from the value of a reference to the rules that can hold.

use std::collections::HashMap;

use crate::value::Value;
use crate::value::hash::Fast;

/// Where a compared value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Start {
    Input,
    Data,
    Argument(u32),
}

/// One reference that rules compare with constants.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) start: Start,
    pub(crate) keys: Box<[Value]>,
    pub(super) by_value: HashMap<Value, Box<[u32]>, Fast>,
    /// The rules that do not compare it.
    pub(super) free: Box<[u32]>,
}

/// The columns of a rule set.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) columns: Box<[Column]>,
}

/// Numbers of rules in ascending order, from two lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    first: &'a [u32],
    second: &'a [u32],
}

impl Column {
    /// The rules that can hold for a value of the reference.
    pub(crate) fn candidates(&self, value: Option<&Value>) -> Candidates<'_> {
        let second = value.and_then(|value| self.by_value.get(value)).map_or(&[][..], |rules| rules);
        Candidates { first: &self.free, second }
    }
}

impl Candidates<'_> {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let from_first = match (self.first.first(), self.second.first()) {
            (Some(a), Some(b)) => a < b,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let list = if from_first { &mut self.first } else { &mut self.second };
        let (number, rest) = list.split_first()?;
        *list = rest;
        Some(*number)
    }
}
