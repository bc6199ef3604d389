//! Every statement and term of a module, outermost first. Depth is bounded before a module comes here.

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

/// Calls `see` for each statement, term and modifier of `module`, heads included.
pub(crate) fn nodes<'a>(module: &'a Module, see: &mut impl FnMut(Node<'a>)) {
    for rule in &module.rules {
        rule_nodes(rule, see);
    }
}

/// The same for one rule.
pub(crate) fn rule_nodes<'a>(rule: &'a Rule, see: &mut impl FnMut(Node<'a>)) {
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

fn of_body<'a>(body: &'a Body, see: &mut impl FnMut(Node<'a>)) {
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

fn of_modifiers<'a>(expr: &'a Expr, see: &mut impl FnMut(Node<'a>)) {
    for with in &expr.with {
        see(Node::With(with, expr.span));
        of(&with.target, see);
        of(&with.value, see);
    }
}

fn of<'a>(term: &'a Term, see: &mut impl FnMut(Node<'a>)) {
    see(Node::Term(term));
    children(term).into_iter().for_each(|part| of(part, see));
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
pub(crate) fn children(term: &Term) -> Vec<&Term> {
    match &term.kind {
        TermKind::Array(items) | TermKind::Set(items) => items.iter().collect(),
        TermKind::Object(members) => members.iter().flat_map(|(key, value)| [key, value]).collect(),
        TermKind::ArrayComprehension { head, .. } | TermKind::SetComprehension { head, .. } => vec![head],
        TermKind::ObjectComprehension { key, value, .. } => vec![key, value],
        TermKind::Call { arguments, .. } => arguments.iter().collect(),
        TermKind::Ref { head, path } => {
            let head = Some(&**head).filter(|head| !matches!(head.kind, TermKind::Var(_) | TermKind::Wildcard(_)));
            head.into_iter().chain(path.iter().filter(|part| !part.dot).map(|part| &part.term)).collect()
        }
        TermKind::Infix { left, right, .. } => vec![left, right],
        TermKind::In { key, value, collection } => {
            key.as_deref().into_iter().chain([&**value, &**collection]).collect()
        }
        TermKind::Minus(term) => vec![term],
        TermKind::Template { .. }
        | TermKind::Null
        | TermKind::Bool(_)
        | TermKind::Number(_)
        | TermKind::String { .. }
        | TermKind::Var(_)
        | TermKind::Wildcard(_) => vec![],
    }
}
