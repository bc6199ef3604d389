//! Errors about unsafe variables.

use std::collections::{BTreeMap, BTreeSet};

use super::flat::{FlatRule, Item, StepKind, VarId, Variables, Vars};
use super::safety::Unsafe;
use super::vars::{Skip, in_item};
use crate::syntax::ast::{Module, Source, Span};
use crate::syntax::error::{Code, Error};

const FUTURE_KEYWORDS: [&str; 7] = ["and", "contains", "every", "if", "in", "not", "or"];

/// Reports the variables that no step binds; each once, where it stands first.
pub(super) fn unsafe_steps(
    source: &Source,
    variables: &Variables,
    found: Unsafe<'_>,
    scope: &str,
    errors: &mut Vec<Error>,
) {
    let mut assigned = Vars::new();
    let mut places: BTreeMap<VarId, Span> = BTreeMap::new();
    for (step, missing) in &found {
        if let StepKind::Equal { left, assigned: true, .. } = &step.kind {
            in_item(left, Skip::default(), &mut |id| {
                assigned.insert(id);
            });
        }
        for id in missing {
            let place = places.entry(*id).or_insert(step.span);
            if step.span.start < place.start {
                *place = step.span;
            }
        }
    }
    let named: Vec<(VarId, Span)> =
        places.iter().filter(|(id, _)| variables.name(**id).is_some()).map(|(id, span)| (*id, *span)).collect();
    let root_cause = named.iter().any(|(id, _)| !assigned.contains(id));
    let before = errors.len();
    for (id, span) in named {
        if let Some(name) = variables.name(id).filter(|_| !(root_cause && assigned.contains(&id))) {
            errors.push(unsafe_variable(source, span, name, scope));
        }
    }
    if errors.len() == before {
        for (step, missing) in &found {
            if !missing.is_empty() {
                let message = format!("expression is unsafe{scope}");
                errors.push(Error::new(Code::UnsafeVar, source, step.span, message));
            }
        }
    }
}

pub(super) fn unsafe_variable(source: &Source, span: Span, name: &str, scope: &str) -> Error {
    let error = Error::new(Code::UnsafeVar, source, span, format!("var {name} is unsafe{scope}"));
    if FUTURE_KEYWORDS.contains(&name) {
        return error.hint(format!("`import future.keywords.{name}` to import a future keyword"));
    }
    error
}

/// Names the rule of an error where a line holds rules of several names.
pub(super) struct RuleScopes {
    shared: BTreeSet<(usize, u32)>,
}

impl RuleScopes {
    pub(super) fn new(modules: &[Module]) -> Self {
        let mut shared = BTreeSet::new();
        for (index, module) in modules.iter().enumerate() {
            let mut first: BTreeMap<u32, String> = BTreeMap::new();
            for rule in &module.rules {
                let path = rule.head.path.iter().map_while(|part| part.term.as_str());
                let mut name = rule.head.name.text.to_string();
                path.for_each(|part| name.push_str(&format!(".{part}")));
                if first.entry(rule.span.line).or_insert_with(|| name.clone()) != &name {
                    shared.insert((index, rule.span.line));
                }
            }
        }
        Self { shared }
    }

    pub(super) fn of(&self, rule: &FlatRule) -> String {
        if !self.shared.contains(&(rule.module, rule.span.line)) {
            return String::new();
        }
        let names: Vec<&str> = rule
            .name_path
            .iter()
            .map_while(|item| match item {
                Item::String(text) => Some(&**text),
                _ => None,
            })
            .collect();
        format!(" in rule {}", names.join("."))
    }
}
