//! Every expression of a module, those within terms included, and every function that is called.

use super::module::{HeadKind, Module};
use super::node::{Body, Expr, ExprKind, TemplatePart, Term, TermKind};

/// Calls `visit` for each expression that is evaluated: all but declarations of names.
pub fn each_expr<'m>(module: &'m Module, visit: &mut dyn FnMut(&'m Expr)) {
    rules(module, &mut Visit { expr: visit, call: &mut |_| {} });
}

/// Calls `visit` with the name of each function that is called, as it is written; operators by their functions' names.
pub fn each_call(module: &Module, visit: &mut dyn FnMut(String)) {
    rules(module, &mut Visit { expr: &mut |_| {}, call: visit });
}

struct Visit<'v, 'm> {
    expr: &'v mut dyn FnMut(&'m Expr),
    call: &'v mut dyn FnMut(String),
}

fn rules<'m>(module: &'m Module, visit: &mut Visit<'_, 'm>) {
    for rule in &module.rules {
        rule.head.path.iter().for_each(|part| term(&part.term, visit));
        match &rule.head.kind {
            HeadKind::Value(value) => value.iter().for_each(|value| term(value, visit)),
            HeadKind::Set { element, .. } => term(element, visit),
            HeadKind::Function { parameters, value } => {
                parameters.iter().chain(value).for_each(|value| term(value, visit));
            }
        }
        rule.body.iter().for_each(|found| body(found, visit));
        for branch in &rule.otherwise {
            branch.value.iter().for_each(|value| term(value, visit));
            branch.body.iter().for_each(|found| body(found, visit));
        }
    }
}

fn body<'m>(found: &'m Body, visit: &mut Visit<'_, 'm>) {
    found.exprs.iter().for_each(|found| expr(found, visit));
}

fn expr<'m>(found: &'m Expr, visit: &mut Visit<'_, 'm>) {
    match &found.kind {
        ExprKind::Some(_) => return,
        ExprKind::Term(value) => term(value, visit),
        ExprKind::Assign(left, right) | ExprKind::Unify(left, right) => {
            term(left, visit);
            term(right, visit);
        }
        ExprKind::SomeIn { key, value, collection } => {
            key.iter().chain([value, collection]).for_each(|part| term(part, visit));
        }
        ExprKind::Every { domain, body: inner, .. } => {
            term(domain, visit);
            body(inner, visit);
        }
        ExprKind::Not(inner) => {
            // Without braces it is the expression itself.
            if inner.braces {
                body(inner, visit);
            } else {
                inner.exprs.iter().for_each(|inner| within(inner, visit));
            }
        }
        ExprKind::And(left, right) | ExprKind::Or(left, right) => {
            body(left, visit);
            body(right, visit);
        }
    }
    found.with.iter().for_each(|with| term(&with.value, visit));
    (visit.expr)(found);
}

/// The expressions within one.
fn within<'m>(found: &'m Expr, visit: &mut Visit<'_, 'm>) {
    if let ExprKind::Term(value) = &found.kind {
        term(value, visit);
    } else {
        expr(found, visit);
    }
}

fn term<'m>(found: &'m Term, visit: &mut Visit<'_, 'm>) {
    match &found.kind {
        TermKind::Template { parts, .. } => {
            for part in parts {
                if let TemplatePart::Expr(inner) = part {
                    within(inner, visit);
                }
            }
        }
        TermKind::Ref { head, path } => {
            term(head, visit);
            path.iter().for_each(|part| term(&part.term, visit));
        }
        TermKind::Array(items) | TermKind::Set(items) => items.iter().for_each(|item| term(item, visit)),
        TermKind::Object(members) => members.iter().for_each(|(key, value)| {
            term(key, visit);
            term(value, visit);
        }),
        TermKind::ArrayComprehension { head, body: inner } | TermKind::SetComprehension { head, body: inner } => {
            term(head, visit);
            body(inner, visit);
        }
        TermKind::ObjectComprehension { key, value, body: inner } => {
            term(key, visit);
            term(value, visit);
            body(inner, visit);
        }
        TermKind::Call { function, arguments } => {
            function.dotted().into_iter().for_each(&mut *visit.call);
            arguments.iter().for_each(|argument| term(argument, visit));
        }
        TermKind::Infix { op, left, right, .. } => {
            (visit.call)(op.builtin().to_owned());
            term(left, visit);
            term(right, visit);
        }
        TermKind::In { key, value, collection } => {
            key.iter().chain([value, collection]).for_each(|part| term(part, visit));
        }
        TermKind::Minus(inner) => {
            (visit.call)("minus".to_owned());
            term(inner, visit);
        }
        _ => {}
    }
}
