//! What is defined where: the rule sets of all modules, and the names a module sees.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::shared::RuleSetId;
use super::step::{Callee, RuleKind};
use super::tree::Tree;
use crate::builtins;
use crate::syntax::ast::{Head, HeadKind, Import, Module, Rule, Term, TermKind};
use crate::value::{Number, Value};

/// A global name of a module.
#[derive(Clone, Debug)]
pub(super) enum Global {
    Data(Vec<Value>),
    Input(Vec<Value>),
}

/// The rule sets of all modules.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(super) tree: Tree,
    /// By rule set.
    pub(super) kinds: Vec<RuleKind>,
    /// By module, then by rule.
    pub(super) set_of: Vec<Vec<RuleSetId>>,
    names: HashMap<Vec<Value>, HashSet<Arc<str>>>,
    /// Whether `print` is evaluated; else it is left out.
    pub(super) prints: bool,
}

impl Registry {
    pub(crate) fn new(modules: &[Module], prints: bool) -> Registry {
        let mut open = HashSet::new();
        let mut names: HashMap<Vec<Value>, HashSet<Arc<str>>> = HashMap::new();
        for module in modules {
            let package = package_path(module);
            let defined = names.entry(package.clone()).or_default();
            for rule in &module.rules {
                defined.insert(rule.head.name.text.clone());
                let (prefix, ground) = rule_path(&package, &rule.head);
                if !ground {
                    open.insert(prefix);
                }
            }
        }
        let mut registry = Registry { tree: Tree::new(), kinds: Vec::new(), set_of: Vec::new(), names, prints };
        for module in modules {
            let package = package_path(module);
            registry.tree.node(&package);
            let mut sets = Vec::with_capacity(module.rules.len());
            for rule in &module.rules {
                let (prefix, ground) = rule_path(&package, &rule.head);
                let root = (1..=prefix.len()).filter_map(|end| prefix.get(..end)).find(|path| open.contains(*path));
                let whole = ground && root.is_none();
                let id = registry.tree.set(root.unwrap_or(&prefix));
                if registry.kinds.len() <= id as usize {
                    registry.kinds.push(kind_of(rule, whole));
                }
                sets.push(id);
            }
            registry.set_of.push(sets);
        }
        registry
    }

    pub(super) fn kind(&self, set: RuleSetId) -> RuleKind {
        self.kinds.get(set as usize).copied().unwrap_or(RuleKind::Complete)
    }

    /// The function at a path of data.
    pub(super) fn function(&self, path: &[Value]) -> Option<Callee> {
        let set = self.tree.find_set(path)?;
        matches!(self.kind(set), RuleKind::Function(_)).then_some(Callee::Function(set))
    }

    /// How many arguments a function takes, without the one that receives the result.
    pub(super) fn arity(&self, callee: Callee) -> usize {
        match callee {
            Callee::Builtin(builtin) => builtins::signature(builtin.name()).map_or(0, builtins::Signature::arity),
            Callee::Function(set) => match self.kind(set) {
                RuleKind::Function(arity) => arity,
                _ => 0,
            },
        }
    }

    /// The names that rules of the package and imports bind in a module.
    pub(super) fn globals(&self, module: &Module) -> BTreeMap<Arc<str>, Global> {
        self.query_globals(&package_path(module), &module.imports)
    }

    /// The names that rules of a package and imports bind.
    pub(super) fn query_globals(&self, package: &[Value], imports: &[Import]) -> BTreeMap<Arc<str>, Global> {
        let mut found = self.package_globals(package);
        for import in imports {
            let keys = || import.path.iter().skip(1).map(|name| Value::from(&*name.text)).collect::<Vec<_>>();
            let global = match import.path.first().map(|name| &*name.text) {
                Some("data") => Global::Data(keys()),
                Some("input") => Global::Input(keys()),
                _ => continue,
            };
            if let Some(name) = import.name() {
                found.insert(name.text.clone(), global);
            }
        }
        found
    }

    pub(super) fn package_globals(&self, package: &[Value]) -> BTreeMap<Arc<str>, Global> {
        let mut found = BTreeMap::new();
        for name in self.names.get(package).into_iter().flatten() {
            let path = [package, &[Value::from(&**name)]].concat();
            found.insert(name.clone(), Global::Data(path));
        }
        found
    }
}

pub(super) fn package_path(module: &Module) -> Vec<Value> {
    module.package.path.iter().map(|name| Value::from(&*name.text)).collect()
}

/// The constant start of a rule's path, and whether that is all of it.
pub(super) fn rule_path(package: &[Value], head: &Head) -> (Vec<Value>, bool) {
    let mut path = [package, &[Value::from(&*head.name.text)]].concat();
    for part in &head.path {
        match scalar(&part.term) {
            Some(value) => path.push(value),
            None => return (path, false),
        }
    }
    (path, true)
}

fn kind_of(rule: &Rule, whole: bool) -> RuleKind {
    match &rule.head.kind {
        HeadKind::Function { parameters, .. } => RuleKind::Function(parameters.len()),
        HeadKind::Value(_) if whole => RuleKind::Complete,
        HeadKind::Set { .. } if whole => RuleKind::Set,
        _ => RuleKind::Object,
    }
}

/// The value of a term that is a scalar constant.
pub(super) fn scalar(term: &Term) -> Option<Value> {
    match &term.kind {
        TermKind::Null => Some(Value::Null),
        TermKind::Bool(flag) => Some(Value::Bool(*flag)),
        TermKind::Number(text) => Number::parse(text).map(Value::Number),
        TermKind::String { value, .. } => Some(Value::String(value.clone())),
        _ => None,
    }
}
