//! Every statement and term of a module, outermost first. Depth is bounded before a module comes here.

use std::collections::BTreeMap;

use sekisho_rego::Policy;
use sekisho_rego::syntax::ast::{
    Body, Expr, ExprKind, HeadKind, Module, Rule, Span, TemplatePart, Term, TermKind, With,
};

pub(crate) enum Node<'a> {
    /// A statement of a body.
    Statement(&'a Expr),
    /// A term. Of a reference neither its beginning nor the names in it are terms of their own.
    Term(&'a Term),
    /// A modifier, and the place of the whole statement.
    With(&'a With, Span),
}

/// A rule of each form in a module, with the others that are alike: these differ at most in constants that are compared
/// or given to functions.
pub(crate) struct Distinct<'m> {
    /// Each with whether it stands for several rules.
    rules: Vec<(&'m Rule, bool)>,
}

impl<'m> Distinct<'m> {
    pub(crate) fn of(policy: &'m Policy) -> Vec<Self> {
        let of_module = |(number, module): (usize, &'m Module)| {
            let mut rules: Vec<(&Rule, bool)> = Vec::new();
            let mut places: BTreeMap<usize, usize> = BTreeMap::new();
            for (at, rule) in module.rules.iter().enumerate() {
                let first = policy.first_alike(number, at);
                match places.get(&first).and_then(|place| rules.get_mut(*place)) {
                    Some((_, several)) => *several = true,
                    None => {
                        places.insert(first, rules.len());
                        rules.push((rule, false));
                    }
                }
            }
            Self { rules }
        };
        policy.modules().iter().enumerate().map(of_module).collect()
    }

    /// One rule of each form.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &'m Rule> {
        self.rules.iter().map(|(rule, _)| *rule)
    }

    /// One rule of each form, and twice where several are alike.
    pub(crate) fn twice(&self) -> impl Iterator<Item = &'m Rule> {
        self.rules.iter().flat_map(|(rule, several)| std::iter::repeat_n(*rule, 1 + usize::from(*several)))
    }
}

/// Calls `see` for each statement, term and modifier of `module`, heads included.
pub(crate) fn nodes<'a>(module: &'a Module, see: &mut dyn FnMut(Node<'a>)) {
    for rule in &module.rules {
        rule_nodes(rule, see);
    }
}

/// The same for one rule.
pub(crate) fn rule_nodes<'a>(rule: &'a Rule, see: &mut dyn FnMut(Node<'a>)) {
    // A further body of a rule has a copy of its head.
    if !rule.chained {
        rule.head.path.iter().for_each(|part| of(&part.term, see));
        match &rule.head.kind {
            HeadKind::Value(value) => value.iter().for_each(|value| of(value, see)),
            HeadKind::Set { element, .. } => of(element, see),
            HeadKind::Function { parameters, value } => parameters.iter().chain(value).for_each(|term| of(term, see)),
        }
    }
    rule.body.iter().for_each(|body| of_body(body, see));
    for branch in &rule.otherwise {
        branch.value.iter().for_each(|value| of(value, see));
        branch.body.iter().for_each(|body| of_body(body, see));
    }
}

fn of_body<'a>(body: &'a Body, see: &mut dyn FnMut(Node<'a>)) {
    for expr in &body.exprs {
        see(Node::Statement(expr));
        match &expr.kind {
            ExprKind::Some(_) => {}
            ExprKind::Term(term) => of(term, see),
            ExprKind::Assign(left, right) | ExprKind::Unify(left, right) => {
                of(left, see);
                of(right, see);
            }
            ExprKind::SomeIn { key, value, collection } => {
                key.iter().chain([value, collection]).for_each(|term| of(term, see));
            }
            ExprKind::Every { domain, body, .. } => {
                of(domain, see);
                of_body(body, see);
            }
            ExprKind::Not(body) => of_body(body, see),
            ExprKind::And(left, right) | ExprKind::Or(left, right) => {
                of_body(left, see);
                of_body(right, see);
            }
        }
        of_modifiers(expr, see);
    }
}

fn of_modifiers<'a>(expr: &'a Expr, see: &mut dyn FnMut(Node<'a>)) {
    for with in &expr.with {
        see(Node::With(with, expr.span));
        of(&with.target, see);
        of(&with.value, see);
    }
}

fn of<'a>(term: &'a Term, see: &mut dyn FnMut(Node<'a>)) {
    see(Node::Term(term));
    children(term, &mut |part| of(part, see));
    match &term.kind {
        TermKind::ArrayComprehension { body, .. }
        | TermKind::SetComprehension { body, .. }
        | TermKind::ObjectComprehension { body, .. } => of_body(body, see),
        TermKind::Template { parts, .. } => {
            for part in parts {
                if let TemplatePart::Expr(expr) = part {
                    if let ExprKind::Term(term) = &expr.kind {
                        of(term, see);
                    }
                    of_modifiers(expr, see);
                }
            }
        }
        _ => {}
    }
}

/// The terms that a term is made of, without the statements of a comprehension and the parts of a template.
pub(crate) fn children<'a>(term: &'a Term, see: &mut dyn FnMut(&'a Term)) {
    match &term.kind {
        TermKind::Array(items) | TermKind::Set(items) => items.iter().for_each(see),
        TermKind::Object(members) => members.iter().flat_map(|(key, value)| [key, value]).for_each(see),
        TermKind::ArrayComprehension { head, .. } | TermKind::SetComprehension { head, .. } => see(head),
        TermKind::ObjectComprehension { key, value, .. } => [key, value].into_iter().for_each(|term| see(term)),
        TermKind::Call { arguments, .. } => arguments.iter().for_each(see),
        TermKind::Ref { head, path } => {
            if !matches!(head.kind, TermKind::Var(_) | TermKind::Wildcard(_)) {
                see(head);
            }
            path.iter().filter(|part| !part.dot).for_each(|part| see(&part.term));
        }
        TermKind::Infix { left, right, .. } => [left, right].into_iter().for_each(|term| see(term)),
        TermKind::In { key, value, collection } => {
            key.as_deref().into_iter().chain([&**value, &**collection]).for_each(see);
        }
        TermKind::Minus(term) => see(term),
        TermKind::Template { .. }
        | TermKind::Null
        | TermKind::Bool(_)
        | TermKind::Number(_)
        | TermKind::String { .. }
        | TermKind::Var(_)
        | TermKind::Wildcard(_) => {}
    }
}
