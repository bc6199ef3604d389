//! The form between syntax and steps: names are resolved and nested calls are literals of their own.

use std::rc::Rc;
use std::sync::Arc;

use super::step::Callee;
use crate::syntax::ast::Span;
use crate::value::Value;

/// A variable of a rule; its number is its slot.
pub(super) type Var = u32;

#[derive(Clone, Debug)]
pub(super) enum Term {
    Const(Value),
    Var(Var),
    Ref(Head, Vec<Term>),
    Array(Vec<Term>),
    Object(Vec<(Term, Term)>),
    Set(Vec<Term>),
    Comprehension(Rc<Comprehension>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Input,
    Data,
    Var(Var),
}

#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) kind: Kind,
    pub(super) key: Option<Term>,
    pub(super) value: Term,
    pub(super) body: Vec<Literal>,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Set,
    Object,
}

#[derive(Clone, Debug)]
pub(super) struct Literal {
    pub(super) kind: LiteralKind,
    pub(super) negated: bool,
    pub(super) with: Option<Rc<Vec<Modifier>>>,
    pub(super) span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum LiteralKind {
    Term(Term),
    /// Unification; after `:=` the left side only receives.
    Equal {
        left: Term,
        right: Term,
        assign: bool,
    },
    /// `==` as a statement.
    Same(Term, Term),
    Call {
        callee: Callee,
        arguments: Vec<Term>,
        result: Option<Term>,
    },
    Member {
        key: Option<Term>,
        value: Term,
        collection: Term,
        result: Option<Term>,
    },
    Every {
        key: Option<Term>,
        value: Term,
        domain: Term,
        body: Rc<Vec<Literal>>,
    },
    Not(Rc<Vec<Literal>>),
    And(Rc<Vec<Literal>>, Rc<Vec<Literal>>),
    Or(Rc<Vec<Literal>>, Rc<Vec<Literal>>),
}

#[derive(Debug)]
pub(super) struct Modifier {
    pub(super) target: ModifierTarget,
    pub(super) value: ModifierValue,
}

#[derive(Debug)]
pub(super) enum ModifierTarget {
    Input(Arc<[Value]>),
    Data(Arc<[Value]>),
    Callee(Callee),
}

#[derive(Debug)]
pub(super) enum ModifierValue {
    Term(Term),
    Callee(Callee),
}

impl Term {
    /// Calls `visit` for every variable outside of comprehensions, heads of references included.
    pub(super) fn each_var(&self, visit: &mut dyn FnMut(Var)) {
        match self {
            Term::Const(_) | Term::Comprehension(_) => {}
            Term::Var(var) => visit(*var),
            Term::Ref(head, path) => {
                if let Head::Var(var) = head {
                    visit(*var);
                }
                path.iter().for_each(|term| term.each_var(visit));
            }
            Term::Array(items) | Term::Set(items) => items.iter().for_each(|term| term.each_var(visit)),
            Term::Object(members) => {
                for (key, value) in members {
                    key.each_var(visit);
                    value.each_var(visit);
                }
            }
        }
    }

    /// Calls `visit` for every comprehension within the term that is not within another one.
    pub(super) fn each_comprehension(&self, visit: &mut dyn FnMut(&Comprehension)) {
        match self {
            Term::Const(_) | Term::Var(_) => {}
            Term::Comprehension(comprehension) => visit(comprehension),
            Term::Ref(_, items) | Term::Array(items) | Term::Set(items) => {
                items.iter().for_each(|term| term.each_comprehension(visit));
            }
            Term::Object(members) => {
                for (key, value) in members {
                    key.each_comprehension(visit);
                    value.each_comprehension(visit);
                }
            }
        }
    }

    /// Calls `visit` for every reference outside of comprehensions, inner ones first.
    pub(super) fn each_ref(&self, visit: &mut dyn FnMut(Head, &[Term])) {
        match self {
            Term::Const(_) | Term::Var(_) | Term::Comprehension(_) => {}
            Term::Ref(head, path) => {
                path.iter().for_each(|term| term.each_ref(visit));
                visit(*head, path);
            }
            Term::Array(items) | Term::Set(items) => items.iter().for_each(|term| term.each_ref(visit)),
            Term::Object(members) => {
                for (key, value) in members {
                    key.each_ref(visit);
                    value.each_ref(visit);
                }
            }
        }
    }
}

impl LiteralKind {
    /// The terms of the literal itself, not those of bodies within.
    pub(super) fn terms(&self) -> Vec<&Term> {
        match self {
            LiteralKind::Term(term) => vec![term],
            LiteralKind::Equal { left, right, .. } | LiteralKind::Same(left, right) => vec![left, right],
            LiteralKind::Call { arguments, result, .. } => arguments.iter().chain(result).collect(),
            LiteralKind::Member { key, value, collection, result } => {
                key.iter().chain([value, collection]).chain(result).collect()
            }
            LiteralKind::Every { domain, .. } => vec![domain],
            LiteralKind::Not(_) | LiteralKind::And(..) | LiteralKind::Or(..) => Vec::new(),
        }
    }

    /// Bodies that see the variables around them.
    pub(super) fn bodies(&self) -> Vec<&[Literal]> {
        match self {
            LiteralKind::Every { body, .. } | LiteralKind::Not(body) => vec![body.as_slice()],
            LiteralKind::And(left, right) | LiteralKind::Or(left, right) => vec![left.as_slice(), right.as_slice()],
            _ => Vec::new(),
        }
    }
}

impl Literal {
    /// The terms that modifiers put in place.
    pub(super) fn modifier_terms(&self) -> impl Iterator<Item = &Term> {
        self.with.iter().flat_map(|mods| mods.iter()).filter_map(|modifier| match &modifier.value {
            ModifierValue::Term(term) => Some(term),
            ModifierValue::Callee(_) => None,
        })
    }
}
