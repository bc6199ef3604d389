//! The names a body declares: by `:=`, `some` and `some … in`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::syntax::ast::{Body, Expr, ExprKind, TemplatePart, Term, TermKind};

pub(super) type Names = BTreeSet<Arc<str>>;

/// The names declared in a body and in bodies nested in it, comprehensions left out.
pub(super) fn in_body(body: &Body) -> Names {
    let mut names = Names::new();
    body_names(body, &mut names);
    names
}

fn body_names(body: &Body, names: &mut Names) {
    body.exprs.iter().for_each(|expr| expr_names(expr, names));
}

/// The names declared by an expression.
pub(super) fn expr_names(expr: &Expr, names: &mut Names) {
    match &expr.kind {
        ExprKind::Assign(left, right) => {
            pattern(left, names);
            term_names(right, names);
        }
        ExprKind::Some(terms) => terms.iter().for_each(|term| pattern(term, names)),
        ExprKind::SomeIn { key, value, .. } => {
            key.iter().for_each(|key| pattern(key, names));
            pattern(value, names);
        }
        ExprKind::Every { domain, body, .. } => {
            term_names(domain, names);
            body_names(body, names);
        }
        ExprKind::Not(body) => body_names(body, names),
        ExprKind::And(left, right) | ExprKind::Or(left, right) => {
            body_names(left, names);
            body_names(right, names);
        }
        ExprKind::Term(term) => term_names(term, names),
        ExprKind::Unify(left, right) => {
            term_names(left, names);
            term_names(right, names);
        }
    }
}

/// Templates hold expressions; nothing else outside of comprehensions does.
fn term_names(term: &Term, names: &mut Names) {
    if let TermKind::Template { parts, .. } = &term.kind {
        for part in parts {
            if let TemplatePart::Expr(expr) = part {
                expr_names(expr, names);
            }
        }
    }
}

/// All variables of a term.
pub(super) fn pattern(term: &Term, names: &mut Names) {
    variables(term, &mut |name| {
        names.insert(name.clone());
    });
}

/// Calls `found` for each variable of a term, comprehensions left out.
pub(super) fn variables(term: &Term, found: &mut dyn FnMut(&Arc<str>)) {
    match &term.kind {
        TermKind::Var(name) => found(name),
        TermKind::Ref { head, path } => {
            variables(head, found);
            path.iter().for_each(|part| variables(&part.term, found));
        }
        TermKind::Array(terms) | TermKind::Set(terms) => terms.iter().for_each(|term| variables(term, found)),
        TermKind::Object(pairs) => {
            for (key, value) in pairs {
                variables(key, found);
                variables(value, found);
            }
        }
        TermKind::Call { arguments, .. } => arguments.iter().for_each(|term| variables(term, found)),
        TermKind::Infix { left, right, .. } => {
            variables(left, found);
            variables(right, found);
        }
        TermKind::In { key, value, collection } => {
            key.iter().for_each(|key| variables(key, found));
            variables(value, found);
            variables(collection, found);
        }
        TermKind::Minus(term) => variables(term, found),
        _ => {}
    }
}

/// The variables a pattern binds: those of arrays and of the values of objects.
pub(super) fn bound(term: &Term, found: &mut dyn FnMut(&Arc<str>)) {
    match &term.kind {
        TermKind::Var(name) => found(name),
        TermKind::Ref { path, .. } => path.iter().for_each(|part| bound(&part.term, found)),
        TermKind::Array(terms) | TermKind::Set(terms) => terms.iter().for_each(|term| bound(term, found)),
        TermKind::Object(pairs) => pairs.iter().for_each(|(_, value)| bound(value, found)),
        _ => {}
    }
}
