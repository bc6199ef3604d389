//! From the engine's syntax tree to conditions.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_rego::decision::{Comparison, Interner, Operator};
use sekisho_rego::syntax::ast::{self, Body, Expr, ExprKind, InfixOp, Module, TermKind};
use sekisho_rego::value::{Set, Value};

use super::call::Call;
use super::condition::Condition;
use super::facts::Path;
use super::term::{Constant, Term};
use crate::refs::{declared, head_name, keys, only_value, root, static_name};

/// Most terms that names may add to a condition, and to a set: names of names grow exponentially.
const MAX_NAMED: usize = 256;
const MAX_NAMED_IN_SET: usize = 65_536;

/// Reads the statements of one package.
pub(super) struct Reader<'m> {
    bindings: BTreeMap<String, &'m ast::Term>,
    /// Names of all rules and functions: they come before builtins.
    rules: BTreeSet<String>,
    /// What names were read as; `None` for one that is being read, or has no meaning here.
    read: BTreeMap<String, Option<Term>>,
    /// Variables of the body at hand.
    locals: BTreeSet<String>,
    /// Terms and items that names stood for, in this condition and in all.
    named: usize,
    named_in_set: usize,
    /// Equal conditions and equal places are one.
    conditions: Interner<Condition>,
    /// The number of the condition that has no meaning here.
    opaque: Option<u32>,
    places: Interner<Vec<Value>>,
}

/// A statement of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stated {
    pub line: u32,
    /// Where its text is.
    pub start: u32,
    pub end: u32,
    /// The number of its condition.
    pub condition: u32,
}

impl<'m> Reader<'m> {
    pub(super) fn of(modules: &[&'m Module]) -> Self {
        let (bindings, rules) = bindings(modules);
        Self {
            bindings,
            rules,
            read: BTreeMap::new(),
            locals: BTreeSet::new(),
            named: 0,
            named_in_set: 0,
            conditions: Interner::default(),
            opaque: None,
            places: Interner::default(),
        }
    }

    /// All conditions and places that were read, by their numbers.
    pub(super) fn done(self) -> (Vec<Condition>, Vec<Path>) {
        let paths = self.places.into_items().into_iter().map(Path::of);
        (self.conditions.into_items(), paths.collect())
    }

    pub(super) fn body(&mut self, body: &'m Body) -> Vec<Stated> {
        self.locals = variables(body);
        body.exprs.iter().map(|statement| self.stated(statement)).collect()
    }

    fn stated(&mut self, statement: &'m Expr) -> Stated {
        self.named = 0;
        let condition = self.literal(statement).unwrap_or(Condition::Opaque);
        let is_opaque = condition == Condition::Opaque;
        let condition = self.conditions.number(condition);
        if is_opaque {
            self.opaque = Some(condition);
        }
        let span = statement.span;
        Stated { line: span.line, start: span.start, end: span.end, condition }
    }

    /// Whether the lowering covers a statement completely.
    pub(super) fn is_clear(&self, stated: &Stated) -> bool {
        self.opaque != Some(stated.condition)
    }

    fn literal(&mut self, statement: &'m Expr) -> Option<Condition> {
        match &statement.kind {
            _ if !statement.with.is_empty() || statement.negated => None,
            ExprKind::Term(term) => self.condition(term),
            // `=` unifies; between terms that are all known it compares.
            ExprKind::Unify(left, right) => self.comparison(Comparison::Equal, left, right),
            ExprKind::Not(body) => match body.exprs.as_slice() {
                [Expr { kind: ExprKind::Not(_), .. }] => None,
                [only] => self.literal(only).map(|inner| Condition::Not(Box::new(inner))),
                _ => None,
            },
            _ => None,
        }
    }

    fn condition(&mut self, term: &'m ast::Term) -> Option<Condition> {
        match &term.kind {
            TermKind::Infix { op, left, right, .. } => match comparison(*op) {
                Some(op) => self.comparison(op, left, right),
                None => self.term(term).map(Condition::Holds),
            },
            TermKind::In { key: None, value, collection } => {
                Some(Condition::Member { item: self.term(value)?, of: self.term(collection)? })
            }
            _ => self.term(term).map(Condition::Holds),
        }
    }

    fn comparison(&mut self, op: Comparison, left: &'m ast::Term, right: &'m ast::Term) -> Option<Condition> {
        Some(Condition::Compare { op, left: self.term(left)?, right: self.term(right)? })
    }

    /// A term of the fragment.
    fn term(&mut self, term: &'m ast::Term) -> Option<Term> {
        match &term.kind {
            // Here are whole numbers of 64 bits only.
            TermKind::Number(text) => text.parse::<i64>().ok().map(|plain| constant(Value::from(plain), 1)),
            TermKind::String { value, .. } => Some(constant(Value::String(value.clone()), 1)),
            TermKind::Bool(value) => Some(constant(Value::Bool(*value), 1)),
            TermKind::Null => Some(constant(Value::Null, 1)),
            TermKind::Array(items) => self.constants(items).map(|(items, weight)| constant(Value::from(items), weight)),
            TermKind::Set(items) => {
                let (items, weight) = self.constants(items)?;
                Some(constant(Value::from(Set::from_vec(items)), weight))
            }
            TermKind::Infix { op, left, right, .. } => {
                let op = operator(*op)?;
                let (left, right) = (Box::new(self.term(left)?), Box::new(self.term(right)?));
                Some(Term::Arithmetic { op, left, right })
            }
            TermKind::Call { function, arguments } => {
                let (first, name) = (root(function)?, static_name(function)?);
                if self.rules.contains(first) || self.locals.contains(first) {
                    return None;
                }
                if arguments.is_empty() {
                    return (name == "time.now_ns").then_some(Term::Now);
                }
                let lowered = arguments.iter().map(|argument| self.term(argument)).collect::<Option<Vec<_>>>()?;
                let call = Box::new(Call::of(&name, arguments.len())?);
                Some(Term::Call { call, arguments: lowered })
            }
            TermKind::Var(_) | TermKind::Ref { .. } => self.named_term(term),
            _ => None,
        }
    }

    /// A place of the input, or what a one-line rule names.
    fn named_term(&mut self, term: &ast::Term) -> Option<Term> {
        let (root, rest) = keys(term)?;
        if self.locals.contains(root) {
            return None;
        }
        if root == "input" {
            return Some(Term::Input(self.places.number(rest)));
        }
        if !rest.is_empty() {
            return None;
        }
        if !self.read.contains_key(root) {
            self.read.insert(root.to_owned(), None);
            let bound = *self.bindings.get(root)?;
            let (locals, named) = (std::mem::take(&mut self.locals), std::mem::take(&mut self.named));
            let term = self.term(bound);
            (self.locals, self.named) = (locals, named);
            self.read.insert(root.to_owned(), term);
        }
        let term = self.read.get(root)?.clone()?;
        self.spend(term.size()).then_some(term)
    }

    /// Takes from the budget for names.
    const fn spend(&mut self, size: usize) -> bool {
        self.named = self.named.saturating_add(size);
        self.named_in_set = self.named_in_set.saturating_add(size);
        self.named <= MAX_NAMED && self.named_in_set <= MAX_NAMED_IN_SET
    }

    fn constants(&mut self, items: &'m [ast::Term]) -> Option<(Vec<Value>, usize)> {
        let (mut out, mut weight) = (Vec::with_capacity(items.len()), 1usize);
        for item in items {
            let Some(Term::Constant(constant)) = self.term(item) else { return None };
            if item.as_var().is_some() {
                // What a name holds is copied in here.
                self.named_in_set = self.named_in_set.saturating_add(constant.weight);
                if self.named_in_set > MAX_NAMED_IN_SET {
                    return None;
                }
            }
            weight = weight.saturating_add(constant.weight);
            out.push(constant.value);
        }
        Some((out, weight))
    }
}

const fn constant(value: Value, weight: usize) -> Term {
    Term::Constant(Constant { value, weight })
}

const fn operator(op: InfixOp) -> Option<Operator> {
    match op {
        InfixOp::Add => Some(Operator::Add),
        InfixOp::Subtract => Some(Operator::Subtract),
        InfixOp::Multiply => Some(Operator::Multiply),
        InfixOp::Divide => Some(Operator::Divide),
        InfixOp::Remainder => Some(Operator::Remainder),
        _ => None,
    }
}

const fn comparison(op: InfixOp) -> Option<Comparison> {
    match op {
        InfixOp::Equal => Some(Comparison::Equal),
        InfixOp::NotEqual => Some(Comparison::NotEqual),
        InfixOp::Less => Some(Comparison::Less),
        InfixOp::LessEqual => Some(Comparison::LessEqual),
        InfixOp::Greater => Some(Comparison::Greater),
        InfixOp::GreaterEqual => Some(Comparison::GreaterEqual),
        _ => None,
    }
}

/// Rules that only give a value a name, and are alone in doing so: `workload_id := input.subject.spiffe_id`. And the
/// first word of every rule's name.
fn bindings<'m>(modules: &[&'m Module]) -> (BTreeMap<String, &'m ast::Term>, BTreeSet<String>) {
    let mut named = BTreeMap::<String, Option<&ast::Term>>::new();
    for rule in modules.iter().flat_map(|module| &module.rules) {
        let plain = head_name(&rule.head).is_some_and(|name| name != "allow");
        let value = only_value(rule).filter(|_| plain);
        named.entry(rule.head.name.text.to_string()).and_modify(|known| *known = None).or_insert(value);
    }
    let names = named.keys().cloned().collect();
    (named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(), names)
}

/// The variables that the statements of a body declare: a name among them does not stand for a rule.
fn variables(body: &Body) -> BTreeSet<String> {
    let of = |statement: &Expr| match &statement.kind {
        ExprKind::Some(names) => names.iter().flat_map(declared).collect(),
        ExprKind::SomeIn { key, value, .. } => key.iter().chain([value]).flat_map(|term| declared(term)).collect(),
        ExprKind::Assign(left, _) => declared(left),
        _ => vec![],
    };
    body.exprs.iter().flat_map(of).collect()
}
