//! Types in bodies.

use super::super::conflicts::path_text;
use super::super::flat::{Base, Callee, Item, Modifier, Step, StepKind, VarId, Vars};
use super::lattice::{self, keys, meet, values};
use super::show::{show, show_all};
use super::state::Checker;
use crate::builtins::{Type, signature};
use crate::syntax::ast::Span;
use crate::syntax::error::{Code, Error};

impl Checker<'_, '_> {
    pub(super) fn report(&mut self, span: Span, message: String, hints: &[String]) {
        let error = Error::new(Code::Type, self.source, span, message);
        self.errors.push(hints.iter().fold(error, |error, hint| error.hint(hint.clone())));
    }

    pub(super) fn show_reference(&self, base: Base, path: &[Item]) -> String {
        let text = path_text(path, self.rules.variables);
        let rest = text.strip_prefix("data").unwrap_or(&text);
        match base {
            Base::Data => text,
            Base::Input => format!("input{rest}"),
            Base::Var(id) => format!("{}{rest}", self.rules.variables.name(id).map_or("_", |name| name)),
        }
    }

    pub(super) fn node_type(&mut self, node: usize) -> Type {
        self.rules.node_type(node)
    }

    /// Checks the steps of a body in the order they are evaluated in.
    pub(super) fn body(&mut self, body: &[Step]) {
        let mut bound = Vars::new();
        super::super::vars::in_body(body, super::super::vars::Skip::default(), &mut |id| {
            if self.env.contains_key(&id) || self.given.contains(&id) {
                bound.insert(id);
            }
        });
        let (order, _) = super::super::safety::order(self.rules.functions, &bound, body);
        for step in order.iter().filter_map(|index| body.get(*index)) {
            let before = self.relaxed;
            self.relaxed |= !step.with.is_empty();
            self.step(step);
            self.relaxed = before;
            step.with.iter().for_each(|with: &Modifier| self.bind_all(&with.target));
        }
    }

    /// Parameters have no type until the body uses them; they are bound all the same.
    pub(super) fn parameters(&mut self, parameters: &[Item]) {
        for item in parameters {
            super::super::vars::in_item(item, super::super::vars::Skip::CLOSURES, &mut |id| {
                self.given.insert(id);
            });
        }
    }

    /// Gives a variable a type.
    pub(super) fn learn(&mut self, id: VarId, kind: Type) {
        if self.env.insert(id, kind).is_none() {
            self.journal.push(id);
        }
    }

    /// Takes back what was learnt since a mark in the journal.
    pub(super) fn forget(&mut self, mark: usize) {
        for id in self.journal.drain(mark.min(self.journal.len())..) {
            self.env.remove(&id);
        }
    }

    fn step(&mut self, step: &Step) {
        match &step.kind {
            StepKind::Term(item) => {
                self.type_of(item, step.span);
            }
            StepKind::Equal { left, right, .. } => self.equal(left, right, step.span),
            StepKind::Call { callee, arguments } => self.call(step, callee, arguments),
            StepKind::Every { key, value, domain, body } => {
                let domain = self.type_of(domain, step.span);
                let mark = self.journal.len();
                if let Some(key) = key {
                    self.learn(*key, keys(&domain).unwrap_or(Type::Any));
                }
                self.learn(*value, values(&domain).unwrap_or(Type::Any));
                self.body(body);
                self.forget(mark);
            }
            StepKind::Not { body, .. } => self.nested(body),
            StepKind::Logical { left, right, .. } => {
                self.nested(left);
                self.nested(right);
            }
        }
    }

    fn nested(&mut self, body: &[Step]) {
        let mark = self.journal.len();
        self.body(body);
        self.forget(mark);
    }

    /// Whether all variables of an item have a type. References within a collection give theirs one.
    fn has_type(&self, item: &Item) -> bool {
        let within = |item: &Item| matches!(item, Item::Ref(..)) || self.has_type(item);
        match item {
            Item::Array(items) | Item::Set(items) => items.iter().all(within),
            Item::Object(pairs) => pairs.iter().all(|(key, value)| within(key) && within(value)),
            _ => {
                let mut all = true;
                super::super::vars::in_item(item, super::super::vars::Skip::CLOSURES, &mut |id| {
                    all &= self.env.contains_key(&id);
                });
                all
            }
        }
    }

    fn equal(&mut self, left: &Item, right: &Item, span: Span) {
        let before = self.errors.len();
        if !self.unify(left, right, span) && self.errors.len() == before {
            let (left, right) = (self.type_of(left, span), self.type_of(right, span));
            let hints = [format!("left: {}", show(&left)), format!("right: {}", show(&right))];
            self.errors.truncate(before);
            self.report(span, "match error".into(), &hints);
        }
    }

    /// Whether two items can be equal. Gives variables a type.
    fn unify(&mut self, left: &Item, right: &Item, span: Span) -> bool {
        match (left, right) {
            (Item::Array(a), Item::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.unify(a, b, span))
            }
            (pattern, other) if !self.has_type(pattern) && self.has_type(other) => {
                let kind = self.type_of(other, span);
                self.bind(pattern, &kind, span)
            }
            (other, pattern) if !self.has_type(pattern) && self.has_type(other) => {
                let kind = self.type_of(other, span);
                self.bind(pattern, &kind, span)
            }
            (a, b) if self.has_type(a) && self.has_type(b) => {
                let (a, b) = (self.type_of(a, span), self.type_of(b, span));
                meet(&a, &b)
            }
            (Item::Ref(..), _) | (_, Item::Ref(..)) => {
                // The reference gives its own variables a type.
                let (a, b) = (self.type_of(left, span), self.type_of(right, span));
                let (reference, pattern) = if matches!(left, Item::Ref(..)) { (a, right) } else { (b, left) };
                self.bind(pattern, &reference, span)
            }
            (a, b) => {
                self.bind_all(a);
                self.bind_all(b);
                true
            }
        }
    }

    /// Whether an item can be of a type. Gives its variables the types of its parts.
    pub(super) fn bind(&mut self, item: &Item, kind: &Type, span: Span) -> bool {
        match (item, kind) {
            (Item::Var(id), _) => match self.env.get(id) {
                Some(known) => meet(known, kind),
                None => {
                    self.learn(*id, kind.clone());
                    true
                }
            },
            (Item::Array(items), Type::Array(kinds, more)) => {
                if items.len() < kinds.len() || items.len() > kinds.len() && more.is_none() {
                    return false;
                }
                items.iter().enumerate().all(|(at, item)| {
                    match kinds.get(at).cloned().or_else(|| more.as_deref().cloned()) {
                        Some(kind) => self.bind(item, &kind, span),
                        None => false,
                    }
                })
            }
            (Item::Object(pairs), Type::Object(members, more)) => {
                if pairs.len() != members.len() && more.is_none() {
                    return false;
                }
                pairs.iter().all(|(key, value)| {
                    let found = match key {
                        Item::String(name) => members.iter().find(|(key, _)| **key == **name).map(|(_, kind)| kind),
                        _ => None,
                    };
                    match (found.cloned(), more.as_ref(), key) {
                        (Some(kind), _, _) => self.bind(value, &kind, span),
                        (None, Some(more), Item::String(_)) => self.bind(value, &more.1, span),
                        (None, None, Item::String(_)) => false,
                        _ => {
                            self.bind_all(key);
                            self.bind_all(value);
                            true
                        }
                    }
                })
            }
            (Item::Set(items), Type::Set(kind)) => items.iter().all(|item| self.bind(item, kind, span)),
            (Item::Array(_) | Item::Object(_) | Item::Set(_), Type::Union(kinds)) => {
                let whole = !self.has_type(item) || meet(&self.type_of(item, span), kind);
                self.bind_all(item);
                whole && (kinds.is_empty() || kinds.iter().any(|kind| fits(item, kind)))
            }
            (Item::Array(_) | Item::Object(_) | Item::Set(_), _) if !self.has_type(item) => {
                let fits = *kind == Type::Any || shape(item, kind);
                self.bind_all(item);
                fits
            }
            _ => {
                let found = self.type_of(item, span);
                meet(&found, kind)
            }
        }
    }

    fn call(&mut self, step: &Step, callee: &Callee, arguments: &[Item]) {
        let span = step.span;
        match callee {
            Callee::Builtin("equal") if !step.generated && arguments.len() == 2 => {
                if let [left, right] = arguments {
                    self.equal(left, right, span);
                }
            }
            Callee::Builtin("print") => {
                for item in arguments {
                    self.type_of(item, span);
                }
            }
            Callee::Builtin(name) => {
                let Some(signature) = signature(name) else { return };
                if name.starts_with("internal.member") {
                    self.member(arguments, signature.arity(), span);
                }
                let wanted: Vec<Type> = signature.arguments.iter().chain(&signature.result).cloned().collect();
                self.fit(name, arguments, &wanted, span);
            }
            Callee::Rule(path) => {
                let Some((parameters, result)) = self.rules.function(path) else {
                    arguments.iter().for_each(|item| self.bind_all(item));
                    return;
                };
                if self.relaxed {
                    arguments.iter().for_each(|item| self.bind_all(item));
                    return;
                }
                let wanted: Vec<Type> = parameters.into_iter().chain([result]).collect();
                let name = format!("data.{}", path.join("."));
                self.fit(&name, arguments, &wanted, span);
            }
            Callee::Unknown(_) => {}
        }
    }

    /// Checks arguments against the types of parameters and of the result.
    fn fit(&mut self, name: &str, arguments: &[Item], wanted: &[Type], span: Span) {
        let errors = self.errors.len();
        for (item, kind) in arguments.iter().zip(wanted) {
            if !self.bind(item, kind, span) {
                if self.errors.len() > errors {
                    return;
                }
                let have: Vec<Type> = arguments.iter().map(|item| self.type_of(item, span)).collect();
                self.errors.truncate(errors);
                let given = have.get(..have.len().min(wanted.len().saturating_sub(1))).unwrap_or(&have);
                let hints = [
                    format!("have: {}", show_all(given)),
                    format!("want: {}", show_all(wanted.get(..wanted.len().saturating_sub(1)).unwrap_or(wanted))),
                ];
                self.report(span, format!("{name}: invalid argument(s)"), &hints);
                return;
            }
        }
    }

    /// `x in xs`: the element must be able to stand in the collection.
    fn member(&mut self, arguments: &[Item], arity: usize, span: Span) {
        let Some(collection) = arguments.get(arity.saturating_sub(1)) else { return };
        let kind = self.type_of(collection, span);
        let (Some(keys), Some(elements)) = (keys(&kind), values(&kind)) else { return };
        if lattice::is_empty(&kind) {
            return;
        }
        let element = arguments.get(arity.saturating_sub(2)).map(|item| (item, elements));
        let key = if arity == 3 { arguments.first().map(|item| (item, keys)) } else { None };
        for (item, wanted) in key.into_iter().chain(element) {
            let errors = self.errors.len();
            if !self.bind(item, &wanted, span) && self.errors.len() == errors {
                let found = self.type_of(item, span);
                let hints = [format!("left: {}", show(&found)), format!("right: {}", show(&wanted))];
                self.report(span, "match error".into(), &hints);
                return;
            }
        }
    }
}

/// Whether a collection literal can be of one of several types, by its constants: the rest of it may be any of these.
fn fits(item: &Item, kind: &Type) -> bool {
    match (item, kind) {
        (_, Type::Any) => true,
        (Item::Null, _) => meet(&Type::Null, kind),
        (Item::Bool(_), _) => meet(&Type::Bool, kind),
        (Item::Number(_), _) => meet(&Type::Number, kind),
        (Item::String(_), _) => meet(&Type::String, kind),
        (Item::Array(items), Type::Array(kinds, more)) => {
            let of = |at: usize| kinds.get(at).or(more.as_deref());
            let fits = |(at, part): (usize, &Item)| of(at).is_some_and(|kind| fits(part, kind));
            shape(item, kind) && items.iter().enumerate().all(fits)
        }
        (Item::Object(pairs), Type::Object(members, more)) => {
            let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, kind)| kind);
            let fits = |(key, value): &(Item, Item)| match key {
                Item::String(name) => {
                    let kind = member(name).or(more.as_ref().map(|more| &more.1));
                    kind.is_some_and(|kind| fits(value, kind))
                }
                _ => true,
            };
            (pairs.len() == members.len() || more.is_some()) && pairs.iter().all(fits)
        }
        (Item::Set(items), Type::Set(kind)) => items.iter().all(|item| fits(item, kind)),
        (Item::Array(_) | Item::Object(_) | Item::Set(_), Type::Union(kinds)) => {
            kinds.iter().any(|kind| fits(item, kind))
        }
        (Item::Array(_) | Item::Object(_) | Item::Set(_), _) => false,
        _ => true,
    }
}

/// Whether a collection literal can be of a type, by its outermost kind.
fn shape(item: &Item, kind: &Type) -> bool {
    match (item, kind) {
        (_, Type::Any) => true,
        (Item::Array(items), Type::Array(kinds, more)) => {
            items.len() == kinds.len() || items.len() > kinds.len() && more.is_some()
        }
        (Item::Object(_), Type::Object(..)) | (Item::Set(_), Type::Set(_)) => true,
        (item, Type::Union(kinds)) => kinds.iter().any(|kind| shape(item, kind)),
        _ => false,
    }
}
