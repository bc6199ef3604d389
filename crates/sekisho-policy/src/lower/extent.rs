//! Whether anything except the bodies of the entry rule could change its value.

use regorus::Value;
use regorus::unstable::{Expr, Import, Rule, RuleBody, RuleHead};

use crate::refs::reference;

pub(super) const ENTRY_PACKAGE: [&str; 2] = ["workload", "authz"];

pub(super) fn is_above(package: &[String]) -> bool {
    package.len() < ENTRY_PACKAGE.len() && package.iter().zip(ENTRY_PACKAGE).all(|(ours, entry)| ours == entry)
}

/// An import that chooses syntax and names nothing.
pub(super) fn is_syntax_import(import: &Import) -> bool {
    let path = reference(&import.refr).unwrap_or_default();
    let root = path.first().map(String::as_str);
    import.r#as.is_none() && matches!(root, Some("rego" | "future"))
}

/// A rule of another name that does not disturb the entry rule, or one that gives it a value as a whole.
pub(super) fn is_plain(rule: &Rule) -> bool {
    let refr = match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        } => refr,
    };
    let Some(path) = reference(refr) else { return false };
    if path.first().is_some_and(|root| ["input", "data", "time"].contains(&root.as_str())) {
        return false;
    }
    if path.first().is_none_or(|root| root != "allow") {
        return true;
    }
    match rule {
        Rule::Default { value, args, .. } => path.len() == 1 && args.is_empty() && is(value, false),
        Rule::Spec { head: RuleHead::Compr { .. }, .. } => path.len() == 1 && matches!(&**refr, Expr::Var { .. }),
        Rule::Spec { .. } => false,
    }
}

/// Whether a rule of the entry rule's name comes to `true` or nothing.
pub(super) fn only_allows(rule: &Rule) -> bool {
    let Rule::Spec { head: RuleHead::Compr { assign, .. }, bodies, .. } = rule else { return false };
    let whole = |body: &RuleBody| !body.is_else && body.assign.as_ref().is_none_or(|a| is(&a.value, true));
    assign.as_ref().is_none_or(|a| is(&a.value, true)) && bodies.iter().all(whole)
}

fn is(expr: &Expr, wanted: bool) -> bool {
    matches!(expr, Expr::Bool { value, .. } if *value == Value::from(wanted))
}
