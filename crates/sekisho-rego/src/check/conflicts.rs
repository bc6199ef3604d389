//! Rules that cannot stand side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::flat::{FlatKind, FlatRule, Item, Variables};
use super::globals::package_path;
use super::tree::Tree;
use crate::syntax::ast::Module;
use crate::syntax::error::{Code, Error};

pub(super) struct Conflicts<'a> {
    pub(super) modules: &'a [Module],
    pub(super) rules: &'a [FlatRule],
    pub(super) tree: &'a Tree,
    pub(super) variables: &'a Variables,
}

impl Conflicts<'_> {
    pub(super) fn check(&self, errors: &mut Vec<Error>) {
        for at in 0..self.tree.len() {
            self.node(at, errors);
        }
        self.packages(errors);
    }

    fn rule(&self, index: usize) -> Option<&FlatRule> {
        self.rules.get(index)
    }

    fn report(&self, rule: &FlatRule, message: String, hint: &str, errors: &mut Vec<Error>) {
        if let Some(module) = self.modules.get(rule.module) {
            errors.push(Error::new(Code::Type, &module.source, rule.span, message).hint(hint));
        }
    }

    fn node(&self, at: usize, errors: &mut Vec<Error>) {
        let Some(node) = self.tree.node(at) else { return };
        // The branches of `else` belong to their rule.
        let rules: Vec<&FlatRule> =
            node.rules.iter().filter_map(|index| self.rule(*index)).filter(|rule| rule.branch == 0).collect();
        let Some(first) = rules.first() else { return };
        let name = rules.last().map(|rule| path_text(&rule.path, self.variables)).unwrap_or_default();
        let mut inside = Vec::new();
        if !node.children.is_empty() {
            let ground = rules.iter().any(|rule| rule.is_ground());
            let below = self.tree.below(at).into_iter().filter_map(|index| self.rule(index));
            inside = below.filter(|rule| rule.branch == 0 && (ground || rule.is_function())).collect();
        }
        if !inside.is_empty() {
            let mut message = format!("rule {name} conflicts with:");
            for rule in inside.iter().take(10) {
                message.push_str(&format!(
                    "\n  rule {} at {}",
                    path_text(&rule.path, self.variables),
                    self.place(rule)
                ));
            }
            self.report(first, message, "a rule's value cannot hold other rules; rename one of them", errors);
            return;
        }
        let sets = rules.iter().filter(|rule| matches!(rule.kind, FlatKind::Set(_))).count();
        let arities: BTreeSet<usize> = rules.iter().map(|rule| rule.arity()).collect();
        let complete = rules.iter().any(|rule| !matches!(rule.kind, FlatKind::Set(_)) && rule.is_ground());
        let partial = rules.iter().any(|rule| matches!(rule.kind, FlatKind::Set(_)) || !rule.is_ground());
        let set = rules.iter().any(|rule| matches!(rule.kind, FlatKind::Set(_)) && rule.is_ground());
        let object_of_sets = rules.iter().any(|rule| matches!(rule.kind, FlatKind::Set(_)) && !rule.is_ground());
        let mixed = sets != 0 && sets != rules.len();
        if mixed || arities.len() > 1 || complete && partial || set && object_of_sets {
            let message = format!("conflicting rules {name} found");
            self.report(first, message, "all rules of a name must be of one kind and take as many arguments", errors);
            return;
        }
        let defaults: Vec<&FlatRule> = rules.iter().filter(|rule| rule.default).copied().collect();
        if let [first, _, ..] = defaults.as_slice() {
            let places: Vec<String> = defaults.iter().map(|rule| self.place(rule)).collect();
            let message = format!("multiple default rules {name} found at {}", places.join(", "));
            if let Some(module) = self.modules.get(first.module) {
                errors.push(Error::new(Code::Type, &module.source, module.package.span, message));
            }
        }
    }

    fn place(&self, rule: &FlatRule) -> String {
        let file = self.modules.get(rule.module).map(|module| module.source.file.clone()).unwrap_or_default();
        format!("{file}:{}", rule.span.line)
    }

    /// Rules at the path of a package.
    fn packages(&self, errors: &mut Vec<Error>) {
        let packages: BTreeSet<Vec<Arc<str>>> = self.modules.iter().map(package_path).collect();
        for rule in self.rules.iter().filter(|rule| rule.branch == 0) {
            let path: Option<Vec<Arc<str>>> = rule
                .path
                .iter()
                .map(|item| match item {
                    Item::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            let Some(path) = path.filter(|path| packages.contains(path)) else { continue };
            let Some(module) = self.modules.get(rule.module) else { continue };
            let name = path_text(&rule.name_path, self.variables);
            let name = name.strip_prefix("data.").unwrap_or(&name);
            let message =
                format!("package {} conflicts with rule {name} defined at {}", path.join("."), self.place(rule));
            errors.push(Error::new(Code::Type, &module.source, module.package.span, message));
        }
    }
}

/// A path as it is written: `data.a["b c"][x]`.
pub(super) fn path_text(path: &[Item], variables: &Variables) -> String {
    let mut text = String::from("data");
    for item in path {
        match item {
            Item::String(name) if is_plain(name) => text.push_str(&format!(".{name}")),
            Item::String(name) => text.push_str(&format!("[{name:?}]")),
            Item::Number(number) => text.push_str(&format!("[{number}]")),
            Item::Bool(value) => text.push_str(&format!("[{value}]")),
            Item::Null => text.push_str("[null]"),
            Item::Var(id) => text.push_str(&format!("[{}]", variables.name(*id).map_or("_", |name| name))),
            _ => text.push_str("[_]"),
        }
    }
    text
}

fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
