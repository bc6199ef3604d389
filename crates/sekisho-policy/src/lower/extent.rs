//! Whether anything except the bodies of the entry rule could change its value.

use sekisho_rego::syntax::ast::{HeadKind, Rule, Term, TermKind};

use crate::refs::head_name;

pub(super) const ENTRY_PACKAGE: [&str; 2] = ["workload", "authz"];

pub(super) fn is_above(package: &[String]) -> bool {
    package.len() < ENTRY_PACKAGE.len() && package.iter().zip(ENTRY_PACKAGE).all(|(ours, entry)| ours == entry)
}

/// A rule of another name that does not disturb the entry rule, or one that gives it a value as a whole.
pub(super) fn is_plain(rule: &Rule) -> bool {
    let name = &*rule.head.name.text;
    if ["input", "data", "time"].contains(&name) || rule.head.path.iter().any(|part| part.term.as_str().is_none()) {
        return false;
    }
    if name != "allow" {
        return true;
    }
    match &rule.head.kind {
        HeadKind::Value(value) if head_name(&rule.head).is_some() => !rule.default || is(value.as_ref(), false),
        _ => false,
    }
}

/// Whether a rule of the entry rule's name comes to `true` or nothing.
pub(super) fn only_allows(rule: &Rule) -> bool {
    let HeadKind::Value(value) = &rule.head.kind else { return false };
    rule.otherwise.is_empty() && (value.is_none() || is(value.as_ref(), true))
}

fn is(term: Option<&Term>, wanted: bool) -> bool {
    matches!(term, Some(Term { kind: TermKind::Bool(value), .. }) if *value == wanted)
}
