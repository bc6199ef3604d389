//! Imports, and names that hide `input` or `data`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::syntax::ast::{Body, Expr, ExprKind, Import, Module, Term, TermKind};
use crate::syntax::error::{Code, Error};

/// Reports imports of one name in a module.
pub(super) fn duplicates(module: &Module, errors: &mut Vec<Error>) {
    let mut seen: BTreeMap<Arc<str>, &Import> = BTreeMap::new();
    for import in &module.imports {
        let Some(name) = import.name() else { continue };
        match seen.get(&name.text) {
            Some(first) => {
                let message = format!("import must not shadow {}", import_text(first));
                let error = Error::new(Code::Compile, &module.source, import.span, message);
                errors.push(error.hint("remove one of the imports or give it an alias"));
            }
            None => {
                seen.insert(name.text.clone(), import);
            }
        }
    }
}

/// Reports imports that nothing uses.
pub(super) fn unused(module: &Module, used: &BTreeSet<usize>, errors: &mut Vec<Error>) {
    for (index, import) in module.imports.iter().enumerate() {
        if import.binds() && !used.contains(&index) {
            let message = format!("{} unused", import_text(import));
            errors.push(Error::new(Code::Compile, &module.source, import.span, message));
        }
    }
}

fn import_text(import: &Import) -> String {
    let path: Vec<&str> = import.path.iter().map(|name| &*name.text).collect();
    let alias = import.alias.as_ref().map(|alias| format!(" as {}", alias.text)).unwrap_or_default();
    format!("import {}{alias}", path.join("."))
}

/// Reports rules, parameters and variables named `input` or `data`, in the rules that are looked at.
pub(super) fn root_documents(module: &Module, looked_at: impl Fn(usize) -> bool, errors: &mut Vec<Error>) {
    let mut report = |span, message: String| errors.push(Error::new(Code::Compile, &module.source, span, message));
    for (_, rule) in module.rules.iter().enumerate().filter(|(number, _)| looked_at(*number)) {
        let name = &rule.head.name.text;
        if is_root(name) {
            report(rule.span, format!("rules must not shadow {name} (use a different rule name)"));
        }
        for parameter in rule.head.parameters().into_iter().flatten() {
            if let Some(name) = parameter.as_var().filter(|name| is_root(name)) {
                report(parameter.span, format!("args must not shadow {name} (use a different variable name)"));
            }
        }
        let bodies = rule.body.iter().chain(rule.otherwise.iter().filter_map(|branch| branch.body.as_ref()));
        for body in bodies {
            in_body(body, &mut |expr, name| {
                report(expr.span, format!("variables must not shadow {name} (use a different variable name)"));
            });
        }
        if let Some(value) = rule.head.value() {
            in_term(value, &mut |expr, name| {
                report(expr.span, format!("variables must not shadow {name} (use a different variable name)"));
            });
        }
    }
}

fn is_root(name: &str) -> bool {
    matches!(name, "input" | "data")
}

fn in_body(body: &Body, found: &mut dyn FnMut(&Expr, &str)) {
    for expr in &body.exprs {
        match &expr.kind {
            ExprKind::Assign(left, right) => {
                if let Some(name) = left.as_var().filter(|name| is_root(name)) {
                    found(expr, name);
                }
                in_term(left, found);
                in_term(right, found);
            }
            ExprKind::Term(term) => in_term(term, found),
            ExprKind::Unify(left, right) => {
                in_term(left, found);
                in_term(right, found);
            }
            ExprKind::Some(_) => {}
            ExprKind::SomeIn { collection, .. } => in_term(collection, found),
            ExprKind::Every { domain, body, .. } => {
                in_term(domain, found);
                in_body(body, found);
            }
            ExprKind::Not(body) => in_body(body, found),
            ExprKind::And(left, right) | ExprKind::Or(left, right) => {
                in_body(left, found);
                in_body(right, found);
            }
        }
        expr.with.iter().for_each(|with| in_term(&with.value, found));
    }
}

fn in_term(term: &Term, found: &mut dyn FnMut(&Expr, &str)) {
    match &term.kind {
        TermKind::Array(terms) | TermKind::Set(terms) => terms.iter().for_each(|term| in_term(term, found)),
        TermKind::Object(pairs) => {
            for (key, value) in pairs {
                in_term(key, found);
                in_term(value, found);
            }
        }
        TermKind::ArrayComprehension { head, body } | TermKind::SetComprehension { head, body } => {
            in_term(head, found);
            in_body(body, found);
        }
        TermKind::ObjectComprehension { key, value, body } => {
            in_term(key, found);
            in_term(value, found);
            in_body(body, found);
        }
        TermKind::Call { arguments, .. } => arguments.iter().for_each(|term| in_term(term, found)),
        TermKind::Infix { left, right, .. } => {
            in_term(left, found);
            in_term(right, found);
        }
        TermKind::In { key, value, collection } => {
            key.iter().for_each(|key| in_term(key, found));
            in_term(value, found);
            in_term(collection, found);
        }
        TermKind::Ref { head, path } => {
            in_term(head, found);
            path.iter().for_each(|part| in_term(&part.term, found));
        }
        TermKind::Minus(term) => in_term(term, found),
        _ => {}
    }
}
