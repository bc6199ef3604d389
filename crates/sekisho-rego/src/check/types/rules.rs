//! The types of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::flat::{FlatKind, FlatRule, Item, Variables, Vars};
use super::super::functions::Functions;
use super::super::tree::{Key, Tree};
use super::annotated::{annotated, noted};
use super::lattice::{any_of, bounded, or, relax};
use super::schemas::Schemas;
use super::state::{Checker, Found, Rules, State};
use crate::builtins::Type;
use crate::syntax::ast::Module;
use crate::syntax::error::Error;

/// How many rules are followed in a row before a type is taken to be any.
const MOST_FOLLOWED: usize = 24;

/// Checks the types in all rules.
pub(crate) fn check(
    modules: &[Module],
    rules: &[FlatRule],
    tree: &Tree,
    functions: &Functions<'_>,
    variables: &Variables,
    schemas: &Schemas,
    errors: &mut Vec<Error>,
) {
    let nodes = vec![State::Unknown; tree.len()];
    let (followed, nested, found) = (0, 0, Vec::new());
    let noted = noted(modules);
    let mut all =
        Rules { modules, rules, tree, functions, variables, schemas, noted, nodes, followed, nested, errors: found };
    for node in 0..tree.len() {
        all.found(node);
    }
    errors.append(&mut all.errors);
}

impl Rules<'_> {
    /// The type of the document at a node.
    pub(super) fn node_type(&mut self, node: usize) -> Type {
        self.found(node).map_or(Type::Any, |found| found.value)
    }

    /// The types of a function's parameters and of its result.
    pub(super) fn function(&mut self, path: &[Arc<str>]) -> Option<(Vec<Type>, Type)> {
        let mut node = 0;
        for name in path {
            node = self.tree.child(node, &Key::String(name.to_string()))?;
        }
        let found = self.found(node)?;
        (!found.parameters.is_empty()).then_some((found.parameters, found.value))
    }

    fn found(&mut self, node: usize) -> Option<Found> {
        match self.nodes.get(node)? {
            State::Known(found) => return Some(found.clone()),
            State::Running => return None,
            State::Unknown => {}
        }
        let indexes = self.tree.node(node)?.rules.clone();
        if indexes.is_empty() || self.followed >= MOST_FOLLOWED {
            return None;
        }
        self.set(node, State::Running);
        self.followed += 1;
        let mut kinds = Vec::new();
        let mut parameters: Option<Vec<Type>> = None;
        for index in indexes {
            let (own, kind) = self.rule(index);
            kinds.push(bounded(kind));
            parameters = Some(match parameters {
                None => own,
                Some(all) => all.into_iter().zip(own).map(|(a, b)| bounded(or(a, b))).collect(),
            });
        }
        self.followed -= 1;
        let value = relax(bounded(any_of(kinds).unwrap_or(Type::Any)));
        let found = Found { parameters: parameters.unwrap_or_default(), value };
        self.set(node, State::Known(found.clone()));
        Some(found)
    }

    fn set(&mut self, node: usize, state: State) {
        if let Some(slot) = self.nodes.get_mut(node) {
            *slot = state;
        }
    }

    /// The types of a rule's parameters and of its value, below the constant start of its path.
    fn rule(&mut self, index: usize) -> (Vec<Type>, Type) {
        let Some(rule) = self.rules.get(index) else { return (Vec::new(), Type::Any) };
        let Some(module) = self.modules.get(rule.module) else { return (Vec::new(), Type::Any) };
        let source = &*module.source;
        let annotated = annotated(module, &self.noted, self.schemas, rule, &mut self.errors);
        let mut checker = Checker {
            rules: self,
            source,
            env: BTreeMap::new(),
            journal: Vec::new(),
            given: Vars::new(),
            relaxed: false,
            annotated,
            errors: Vec::new(),
        };
        if let FlatKind::Function { parameters, .. } = &rule.kind {
            checker.parameters(parameters);
        }
        checker.body(&rule.body);
        let failed = !checker.errors.is_empty();
        let (parameters, value) = match &rule.kind {
            FlatKind::Value(item) => (Vec::new(), checker.type_of(item, rule.span)),
            FlatKind::Set(item) => (Vec::new(), Type::Set(Box::new(checker.type_of(item, rule.span)))),
            FlatKind::Function { parameters, value } => (
                parameters.iter().map(|item| checker.type_of(item, rule.span)).collect(),
                checker.type_of(value, rule.span),
            ),
        };
        let suffix: Vec<Type> = rule
            .path
            .iter()
            .skip_while(|item| !matches!(item, Item::Var(_)))
            .map(|item| checker.type_of(item, rule.span))
            .collect();
        let mut errors = std::mem::take(&mut checker.errors);
        self.errors.append(&mut errors);
        if failed {
            return (parameters.iter().map(|_| Type::Any).collect(), Type::Any);
        }
        let nested = |value, key| Type::Object(Vec::new(), Some(Box::new((key, value))));
        (parameters, suffix.into_iter().rev().fold(value, nested))
    }
}
