//! Support rules: rules that could not be put in place of what reads them, with what is known filled in.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::term::{Literal, Term, Var};
use crate::program::RuleSetId;
use crate::value::Value;

/// What a support rule defines.
#[derive(Clone, Debug, PartialEq)]
pub enum SupportHead {
    /// One value.
    Value,
    /// An element of a set.
    Element,
    /// The value of a function.
    Function(Vec<Var>),
}

/// A support rule.
#[derive(Clone, Debug)]
pub struct SupportRule {
    /// The path of its document without `data`, by constants.
    pub path: Arc<[Value]>,
    /// The further keys of the head.
    pub keys: Vec<Term>,
    /// What it defines.
    pub head: SupportHead,
    /// Whether it is the default.
    pub default: bool,
    /// The body and the value, then those of `else`.
    pub branches: Vec<(Vec<Literal>, Term)>,
}

/// The support rules of one partial evaluation.
#[derive(Debug)]
pub(super) struct Support {
    pub(super) namespace: Arc<str>,
    pub(super) waiting: VecDeque<RuleSetId>,
    pub(super) seen: HashSet<RuleSetId>,
    /// The documents that can fail with an error, and what holds them.
    pub(super) erring: HashSet<Vec<Value>>,
    pub(super) helpers: u32,
    pub(super) rules: Vec<SupportRule>,
    /// Whether the residual reads documents of the modules themselves.
    pub(super) modules: bool,
}

impl Support {
    pub(super) fn new(namespace: Arc<str>) -> Support {
        Support {
            namespace,
            waiting: VecDeque::new(),
            seen: HashSet::new(),
            erring: HashSet::new(),
            helpers: 0,
            rules: Vec::new(),
            modules: false,
        }
    }

    /// Whether the document at a path can fail with an error.
    pub(super) fn errs(&self, path: &[Value]) -> bool {
        !self.erring.is_empty()
            && (0..=path.len()).any(|end| path.get(..end).is_some_and(|start| self.erring.contains(start)))
    }

    pub(super) fn path(&self, path: &[Value]) -> Vec<Value> {
        [&[Value::from(&*self.namespace)], path].concat()
    }
}
