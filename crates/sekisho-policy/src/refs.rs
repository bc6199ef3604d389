//! References and names in the syntax tree.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sekisho_rego::syntax::ast::{Head, HeadKind, Module, Rule, Term, TermKind};
use sekisho_rego::value::Value;

/// A rule's full name: `data`, its package, its own path.
pub(crate) type Name = Vec<String>;

/// `a.b["c"]` as `a.b.c`, when every step is a constant text.
pub(crate) fn static_name(term: &Term) -> Option<Cow<'_, str>> {
    match term.as_var() {
        Some(name) => Some(Cow::Borrowed(name)),
        None => term.dotted().map(Cow::Owned),
    }
}

/// `a.b["c"][0]` as its first word and its keys, when every step is a constant text or a plain number.
pub(crate) fn keys(term: &Term) -> Option<(&str, Vec<Value>)> {
    let (head, path) = match &term.kind {
        TermKind::Var(name) => return Some((name, vec![])),
        TermKind::Ref { head, path } => (head.as_var()?, path),
        _ => return None,
    };
    let key = |term: &Term| match &term.kind {
        TermKind::String { value, .. } => Some(Value::String(value.clone())),
        TermKind::Number(text) => text.parse::<i64>().ok().filter(|plain| *plain >= 0).map(Value::from),
        _ => None,
    };
    Some((head, path.iter().map(|part| key(&part.term)).collect::<Option<_>>()?))
}

/// The constant words that a reference begins with.
pub(crate) fn leading_path(term: &Term) -> Name {
    match &term.kind {
        TermKind::Var(name) => vec![name.to_string()],
        TermKind::Ref { head, path } => {
            let words = path.iter().map_while(|part| part.term.as_str());
            head.as_var().into_iter().chain(words).map(ToString::to_string).collect()
        }
        _ => vec![],
    }
}

/// The name of a function that is called, as in `startswith` and `regex.match`.
pub(crate) fn function_name(function: &Term) -> Cow<'_, str> {
    match function.as_var() {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(leading_path(function).join(".")),
    }
}

/// The first word of a reference.
pub(crate) fn root(term: &Term) -> Option<&str> {
    match &term.kind {
        TermKind::Var(name) => Some(name),
        TermKind::Ref { head, .. } => head.as_var().map(|name| &**name),
        _ => None,
    }
}

/// The full name of what `path` names in a module of `package` with these imports.
pub(crate) fn resolve(path: &[String], package: &[String], aliases: &BTreeMap<String, Name>) -> Name {
    let Some((first, rest)) = path.split_first() else { return vec![] };
    if first == "data" {
        return path.to_vec();
    }
    let base = aliases.get(first).cloned().unwrap_or_else(|| {
        let package = std::iter::once("data".to_owned()).chain(package.iter().cloned());
        package.chain([first.clone()]).collect()
    });
    base.into_iter().chain(rest.iter().cloned()).collect()
}

/// The variables of a pattern.
pub(crate) fn declared(pattern: &Term) -> Vec<String> {
    match &pattern.kind {
        TermKind::Var(name) => vec![name.to_string()],
        TermKind::Array(items) => items.iter().flat_map(declared).collect(),
        TermKind::Object(members) => members.iter().flat_map(|(_, value)| declared(value)).collect(),
        _ => vec![],
    }
}

/// What a module's imports call each thing that they import.
pub(crate) fn aliases(module: &Module) -> BTreeMap<String, Name> {
    let alias = |import: &sekisho_rego::syntax::ast::Import| {
        let path = import.path.iter().map(|name| name.text.to_string()).collect();
        Some((import.name()?.text.to_string(), path))
    };
    module.imports.iter().filter(|import| import.binds()).filter_map(alias).collect()
}

/// The words of a module's package.
pub(crate) fn package(module: &Module) -> Vec<String> {
    module.package.path.iter().map(|name| name.text.to_string()).collect()
}

/// The constant words that the name of a rule begins with.
pub(crate) fn head_path(head: &Head) -> Name {
    let words = head.path.iter().map_while(|part| part.term.as_str());
    std::iter::once(&head.name.text).chain(words).map(ToString::to_string).collect()
}

/// The name of a rule that is one word.
pub(crate) fn head_name(head: &Head) -> Option<&str> {
    head.path.is_empty().then_some(&*head.name.text)
}

/// The value of a rule that always gives one value: `a := input.b`, without a body.
pub(crate) fn only_value(rule: &Rule) -> Option<&Term> {
    match &rule.head.kind {
        HeadKind::Value(value) if rule.body.is_none() && rule.otherwise.is_empty() && !rule.default => value.as_ref(),
        _ => None,
    }
}
