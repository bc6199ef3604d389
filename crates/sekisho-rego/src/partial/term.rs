//! What a residual is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::value::Value;

/// The number of a variable of a residual.
pub type Var = u32;

/// What a reference starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// The input.
    Input,
    /// Base documents, and the documents of support rules.
    Data,
    /// A variable.
    Var(Var),
}

/// A term of a residual: it has one value for each value of its variables.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A value.
    Const(Value),
    /// A variable.
    Var(Var),
    /// `input.a[x]`.
    Ref(Root, Vec<Term>),
    /// An array of which a part is unknown.
    Array(Vec<Term>),
    /// An object of which a part is unknown.
    Object(Vec<(Term, Term)>),
    /// A set of which a part is unknown.
    Set(Vec<Term>),
    /// A comprehension that reads what is unknown.
    Comprehension(Box<Comprehension>),
}

/// The kinds of comprehensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// `[x | …]`
    Array,
    /// `{x | …}`
    Set,
    /// `{k: x | …}`
    Object,
}

/// A comprehension with what it sees filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Comprehension {
    /// What it makes.
    pub kind: Collection,
    /// The key of an object's member.
    pub key: Option<Term>,
    /// The element, or the member's value.
    pub value: Term,
    /// The body.
    pub body: Vec<Literal>,
}

/// A comparison of two values by Rego's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

/// What a call names.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// A built-in function.
    Builtin(&'static str),
    /// A function of a module, by its path without `data`.
    Rule(Arc<[Value]>),
}

/// What a `with` modifier replaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A part of the input.
    Input(Arc<[Value]>),
    /// A part of data.
    Data(Arc<[Value]>),
    /// A function.
    Function(Function),
}

/// By what a `with` modifier replaces it.
#[derive(Clone, Debug, PartialEq)]
pub enum Replacement {
    /// By a value.
    Term(Term),
    /// By a function.
    Function(Function),
}

/// A condition of a residual.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// The term is defined; it may be false.
    Defined(Term),
    /// The term is defined and not false.
    Truthy(Term),
    /// Both are equal; free variables of either receive their values.
    Equal(Term, Term),
    /// The comparison holds.
    Compare(Order, Term, Term),
    /// The call has the result, or, without one, a result that is not false.
    Call(Function, Vec<Term>, Option<Term>),
    /// `key, value in collection`; with a result, whether it holds.
    Member {
        /// The key, if two terms are given.
        key: Option<Term>,
        /// The element.
        value: Term,
        /// The collection.
        collection: Term,
        /// `true` or `false`.
        result: Option<Term>,
    },
    /// The literal does not hold.
    Not(Box<Literal>),
    /// The body holds for each member.
    Every {
        /// The key's variable.
        key: Option<Var>,
        /// The element's variable.
        value: Var,
        /// The collection.
        domain: Term,
        /// What must hold for each.
        body: Vec<Literal>,
    },
    /// The literals hold under modifiers.
    With(Vec<Literal>, Vec<(Target, Replacement)>),
    /// Never holds. It stands behind conditions that can fail with an error.
    Never,
}

/// How often each variable is named.
pub(super) type Uses = BTreeMap<Var, u32>;

impl Term {
    /// The value, if it is known.
    #[must_use]
    pub fn as_const(&self) -> Option<&Value> {
        match self {
            Term::Const(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it is a constant, a variable, or a reference by constants and variables.
    pub(super) fn is_simple(&self) -> bool {
        let leaf = |term: &Term| matches!(term, Term::Const(_) | Term::Var(_));
        match self {
            Term::Ref(_, keys) => keys.iter().all(leaf),
            other => leaf(other),
        }
    }

    /// Counts the variables.
    pub(super) fn uses(&self, found: &mut Uses) {
        match self {
            Term::Const(_) => {}
            Term::Var(var) => *found.entry(*var).or_default() += 1,
            Term::Ref(root, keys) => {
                if let Root::Var(var) = root {
                    *found.entry(*var).or_default() += 1;
                }
                keys.iter().for_each(|key| key.uses(found));
            }
            Term::Array(items) | Term::Set(items) => items.iter().for_each(|item| item.uses(found)),
            Term::Object(members) => members.iter().for_each(|(key, value)| {
                key.uses(found);
                value.uses(found);
            }),
            Term::Comprehension(inner) => {
                inner.key.iter().chain([&inner.value]).for_each(|term| term.uses(found));
                inner.body.iter().for_each(|literal| literal.uses(found));
            }
        }
    }

    /// Calls `visit` for each reference outside of comprehensions, inner ones first.
    pub(super) fn each_ref<'t>(&'t self, visit: &mut dyn FnMut(&'t Term)) {
        match self {
            Term::Const(_) | Term::Var(_) | Term::Comprehension(_) => {}
            Term::Ref(_, keys) => {
                keys.iter().for_each(|key| key.each_ref(visit));
                visit(self);
            }
            Term::Array(items) | Term::Set(items) => items.iter().for_each(|item| item.each_ref(visit)),
            Term::Object(members) => members.iter().for_each(|(key, value)| {
                key.each_ref(visit);
                value.each_ref(visit);
            }),
        }
    }

    /// Replaces variables.
    pub(super) fn replace(&mut self, by: &dyn Fn(Var) -> Option<Term>) {
        match self {
            Term::Const(_) => {}
            Term::Var(var) => {
                if let Some(term) = by(*var) {
                    *self = term;
                }
            }
            Term::Ref(root, keys) => {
                keys.iter_mut().for_each(|key| key.replace(by));
                let Root::Var(var) = root else { return };
                match by(*var) {
                    Some(Term::Var(new)) => *root = Root::Var(new),
                    Some(Term::Ref(start, mut path)) => {
                        path.append(keys);
                        *root = start;
                        *keys = path;
                    }
                    _ => {}
                }
            }
            Term::Array(items) | Term::Set(items) => items.iter_mut().for_each(|item| item.replace(by)),
            Term::Object(members) => members.iter_mut().for_each(|(key, value)| {
                key.replace(by);
                value.replace(by);
            }),
            Term::Comprehension(inner) => {
                inner.key.iter_mut().for_each(|key| key.replace(by));
                inner.value.replace(by);
                inner.body.iter_mut().for_each(|literal| literal.replace(by));
            }
        }
    }

    /// The number of parts, constants counted whole.
    pub(super) fn size(&self) -> u64 {
        match self {
            Term::Const(value) => value.weight().max(1),
            Term::Var(_) => 1,
            Term::Ref(_, items) | Term::Array(items) | Term::Set(items) => {
                1 + items.iter().map(Term::size).sum::<u64>()
            }
            Term::Object(members) => 1 + members.iter().map(|(key, value)| key.size() + value.size()).sum::<u64>(),
            Term::Comprehension(inner) => {
                1 + inner.key.iter().chain([&inner.value]).map(Term::size).sum::<u64>() + size(&inner.body)
            }
        }
    }
}

/// The number of parts of literals.
pub(super) fn size(body: &[Literal]) -> u64 {
    body.iter().map(Literal::size).sum()
}

impl Literal {
    /// The terms of the literal itself.
    pub(super) fn terms(&self) -> Vec<&Term> {
        match self {
            Literal::Defined(term) | Literal::Truthy(term) => vec![term],
            Literal::Equal(left, right) | Literal::Compare(_, left, right) => vec![left, right],
            Literal::Call(_, arguments, result) => arguments.iter().chain(result).collect(),
            Literal::Member { key, value, collection, result } => {
                key.iter().chain([value, collection]).chain(result).collect()
            }
            Literal::Not(inner) => inner.terms(),
            Literal::Every { domain, .. } => vec![domain],
            Literal::With(_, mods) => mods
                .iter()
                .filter_map(|(_, by)| match by {
                    Replacement::Term(term) => Some(term),
                    Replacement::Function(_) => None,
                })
                .collect(),
            Literal::Never => Vec::new(),
        }
    }

    fn terms_mut(&mut self) -> Vec<&mut Term> {
        match self {
            Literal::Defined(term) | Literal::Truthy(term) => vec![term],
            Literal::Equal(left, right) | Literal::Compare(_, left, right) => vec![left, right],
            Literal::Call(_, arguments, result) => arguments.iter_mut().chain(result).collect(),
            Literal::Member { key, value, collection, result } => {
                key.iter_mut().chain([value, collection]).chain(result).collect()
            }
            Literal::Not(inner) => inner.terms_mut(),
            Literal::Every { domain, .. } => vec![domain],
            Literal::With(_, mods) => mods
                .iter_mut()
                .filter_map(|(_, by)| match by {
                    Replacement::Term(term) => Some(term),
                    Replacement::Function(_) => None,
                })
                .collect(),
            Literal::Never => Vec::new(),
        }
    }

    /// The literals within.
    pub(super) fn body(&self) -> &[Literal] {
        match self {
            Literal::Every { body, .. } | Literal::With(body, _) => body,
            _ => &[],
        }
    }

    pub(super) fn body_mut(&mut self) -> &mut [Literal] {
        match self {
            Literal::Every { body, .. } | Literal::With(body, _) => body,
            _ => &mut [],
        }
    }

    /// Counts the variables, those in closures too.
    pub(super) fn uses(&self, found: &mut Uses) {
        self.terms().into_iter().for_each(|term| term.uses(found));
        if let Literal::Every { key, value, .. } = self {
            key.iter().chain([value]).for_each(|var| *found.entry(*var).or_default() += 1);
        }
        self.body().iter().for_each(|literal| literal.uses(found));
    }

    /// Replaces variables, those in closures too.
    pub(super) fn replace(&mut self, by: &dyn Fn(Var) -> Option<Term>) {
        self.terms_mut().into_iter().for_each(|term| term.replace(by));
        if let Literal::Every { key, value, .. } = self {
            for var in key.iter_mut().chain([value]) {
                if let Some(Term::Var(new)) = by(*var) {
                    *var = new;
                }
            }
        }
        self.body_mut().iter_mut().for_each(|literal| literal.replace(by));
    }

    fn size(&self) -> u64 {
        1 + self.terms().into_iter().map(Term::size).sum::<u64>() + size(self.body())
    }
}
