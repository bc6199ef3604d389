//! References and names in the engine's syntax tree.

use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::{Expr, Import, Module, Ref, Rule, RuleHead};

/// A rule's full name: `data`, its package, its own path.
pub(crate) type Name = Vec<String>;

/// `a.b["c"]` as its words, when every step is a constant text.
pub(crate) fn reference(expr: &Expr) -> Option<Vec<String>> {
    let text = |value: Value| value.as_string().ok().map(|text| text.to_string());
    keys(expr)?.into_iter().map(text).collect()
}

/// `a.b["c"][0]` as its keys, when every step is a constant text or a plain number.
pub(crate) fn keys(expr: &Expr) -> Option<Vec<Value>> {
    let (inner, key) = match expr {
        Expr::Var { value, .. } => return value.as_string().is_ok().then(|| vec![value.clone()]),
        Expr::RefDot { refr, field, .. } => (refr, field.1.clone()),
        Expr::RefBrack { refr, index, .. } => match &**index {
            Expr::String { value, .. } => (refr, value.clone()),
            Expr::Number { span, value, .. } => {
                let plain = span.text().parse::<i64>().ok().filter(|plain| *plain >= 0);
                (refr, plain.filter(|plain| whole(value) == Some(*plain)).map(Value::from)?)
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut keys = keys(inner)?;
    keys.push(key);
    Some(keys)
}

/// A whole number of 64 bits.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().ok()
}

/// The constant words that a reference begins with.
pub(crate) fn leading_path(expr: &Expr) -> Name {
    match expr {
        Expr::RefBrack { refr, .. } | Expr::RefDot { refr, .. } => {
            reference(expr).unwrap_or_else(|| leading_path(refr))
        }
        _ => reference(expr).unwrap_or_default(),
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
pub(crate) fn declared(pattern: &Expr) -> Vec<String> {
    match pattern {
        Expr::Var { .. } => reference(pattern).unwrap_or_default(),
        Expr::Array { items, .. } => items.iter().flat_map(|item| declared(item)).collect(),
        Expr::Object { fields, .. } => fields.iter().flat_map(|(_, _, value)| declared(value)).collect(),
        _ => vec![],
    }
}

/// What a module's imports call each thing that they import.
pub(crate) fn aliases(module: &Module) -> BTreeMap<String, Name> {
    let alias = |import: &Import| {
        let path = reference(&import.refr)?;
        let own = import.r#as.as_ref().map(|span| span.text().to_owned());
        Some((own.or_else(|| path.last().cloned())?, path))
    };
    module.imports.iter().filter_map(alias).collect()
}

pub(crate) const fn head_of(rule: &Rule) -> &Ref<Expr> {
    match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
        },
    }
}
