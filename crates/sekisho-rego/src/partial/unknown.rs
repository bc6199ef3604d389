//! The parts of input and data that are unknown.

use super::term::Root;
use crate::syntax::ast::{ExprKind, TermKind};
use crate::syntax::{self, Options};
use crate::value::{Number, Value};

/// A part of the input or of data that is unknown: it, and everything below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    root: Root,
    path: Vec<Value>,
}

/// The unknowns of one partial evaluation.
#[derive(Debug, Default)]
pub(super) struct Unknowns {
    list: Vec<Unknown>,
    /// Whether the time is unknown.
    pub(super) now: bool,
}

impl Unknown {
    /// Reads `input`, `input.a.b`, `input["a b"]` or `data.a`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Unknown, String> {
        let wrong = || format!("`{text}` is not a part of input or data; write it as `input.request` or `data.roles`");
        let body = syntax::parse_query("unknown", text, Options::default()).map_err(|_| wrong())?;
        let [expr] = body.exprs.as_slice() else { return Err(wrong()) };
        let ExprKind::Term(term) = &expr.kind else { return Err(wrong()) };
        if expr.negated || !expr.with.is_empty() {
            return Err(wrong());
        }
        let (head, parts) = match &term.kind {
            TermKind::Ref { head, path } => (&**head, path.as_slice()),
            _ => (term, &[][..]),
        };
        let root = match head.as_var().map(|name| &**name) {
            Some("input") => Root::Input,
            Some("data") => Root::Data,
            _ => return Err(wrong()),
        };
        let key = |part: &crate::syntax::ast::RefPart| match &part.term.kind {
            TermKind::String { value, .. } => Some(Value::String(value.clone())),
            TermKind::Number(text) => Number::parse(text).map(Value::Number),
            TermKind::Bool(flag) => Some(Value::Bool(*flag)),
            TermKind::Null => Some(Value::Null),
            _ => None,
        };
        let path = parts.iter().map(key).collect::<Option<Vec<Value>>>().ok_or_else(wrong)?;
        Ok(Unknown { root, path })
    }

    /// The path below data; none for a part of the input.
    #[must_use]
    pub fn below_data(&self) -> Option<&[Value]> {
        (self.root == Root::Data).then_some(&self.path)
    }

    /// The part of the input by these names.
    #[must_use]
    pub fn of_input(path: &[&str]) -> Unknown {
        Unknown { root: Root::Input, path: path.iter().map(|name| Value::from(*name)).collect() }
    }

    /// The whole input.
    #[must_use]
    pub fn input() -> Unknown {
        Unknown { root: Root::Input, path: Vec::new() }
    }
}

impl Unknowns {
    pub(super) fn new(list: &[Unknown], now: bool) -> Unknowns {
        Unknowns { list: list.to_vec(), now }
    }

    /// Whether the document at a path is unknown or holds something that is.
    pub(super) fn touch(&self, root: Root, path: &[Value]) -> bool {
        // A store takes a number for the member of that text.
        let same =
            |a: &Value, b: &Value| a == b || root == Root::Data && (a.as_number().is_some() || b.as_number().is_some());
        let touches = |unknown: &Unknown| {
            unknown.root == root && unknown.path.iter().zip(path).all(|(unknown, key)| same(unknown, key))
        };
        self.list.iter().any(touches)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = (Root, &[Value])> {
        self.list.iter().map(|unknown| (unknown.root, unknown.path.as_slice()))
    }
}
