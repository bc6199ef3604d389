//! What `rego.metadata.chain()` and `rego.metadata.rule()` give.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::ast::{Annotation, Module, Rule, Scope, Target};
use super::super::error::{Code, Error};
use crate::value::{Object, Value};

type Path = Vec<Arc<str>>;

/// The metadata of modules that are compiled together.
pub struct Chains<'a> {
    modules: &'a [Module],
    documents: BTreeMap<Path, &'a Annotation>,
    packages: BTreeMap<Path, &'a Annotation>,
    subpackages: BTreeMap<Path, &'a Annotation>,
}

impl<'a> Chains<'a> {
    /// Gathers the metadata.
    ///
    /// # Errors
    /// Blocks that cannot be read, and two blocks of one scope other than `rule` for one path.
    pub fn new(modules: &'a [Module]) -> Result<Self, Vec<Error>> {
        let mut chains =
            Self { modules, documents: BTreeMap::new(), packages: BTreeMap::new(), subpackages: BTreeMap::new() };
        let mut errors: Vec<Error> = modules.iter().flat_map(|module| module.annotation_errors.clone()).collect();
        for module in modules {
            for annotation in &module.annotations {
                let (map, path) = match (annotation.scope, annotation.target) {
                    (Scope::Document, Target::Rule(index)) => match module.rules.get(index) {
                        Some(rule) => (&mut chains.documents, rule_path(module, rule)),
                        None => continue,
                    },
                    (Scope::Package, _) => (&mut chains.packages, package_path(module)),
                    (Scope::Subpackages, _) => (&mut chains.subpackages, package_path(module)),
                    _ => continue,
                };
                if map.insert(path, annotation).is_some() {
                    let message = "metadata of this scope is given twice for one path";
                    errors.push(Error::new(Code::Type, &module.source, annotation.span, message));
                }
            }
        }
        if errors.is_empty() { Ok(chains) } else { Err(errors) }
    }

    /// The value of `rego.metadata.chain()` in a rule; `branch` is 0, or the number of the `else` branch.
    pub fn chain(&self, module: usize, rule: usize, branch: usize) -> Value {
        let Some((tree, node)) = self.rule_of(module, rule) else { return Value::from(Vec::new()) };
        let path = rule_path(tree, node);
        let own: Vec<&Annotation> = own(tree, rule, branch);
        let mut links = Vec::new();
        for annotation in own.iter().rev() {
            links.push(link(&path, Some(annotation)));
        }
        if own.is_empty() {
            links.push(link(&path, None));
        }
        links.extend(self.documents.get(&path).map(|annotation| link(&path, Some(annotation))));
        let package = package_path(tree);
        links.extend(self.packages.get(&package).map(|annotation| link(&package, Some(annotation))));
        for length in (1..=package.len()).rev() {
            let above: Path = package.iter().take(length).cloned().collect();
            links.extend(self.subpackages.get(&above).map(|annotation| link(&above, Some(annotation))));
        }
        Value::from(links)
    }

    /// The value of `rego.metadata.rule()` in a rule.
    pub fn rule(&self, module: usize, rule: usize, branch: usize) -> Value {
        let own = self.rule_of(module, rule).map(|(tree, _)| own(tree, rule, branch)).unwrap_or_default();
        own.first().map_or_else(Value::empty_object, |annotation| annotation.value.clone())
    }

    fn rule_of(&self, module: usize, rule: usize) -> Option<(&'a Module, &'a Rule)> {
        let tree = self.modules.get(module)?;
        Some((tree, tree.rules.get(rule)?))
    }
}

/// The blocks of scope `rule` on a rule, in the order of the file.
fn own(module: &Module, rule: usize, branch: usize) -> Vec<&Annotation> {
    let on_rule = |annotation: &&Annotation| {
        annotation.scope == Scope::Rule && matches!(annotation.target, Target::Rule(index) if index == rule)
    };
    if branch == 0 { module.annotations.iter().filter(on_rule).collect() } else { Vec::new() }
}

fn package_path(module: &Module) -> Path {
    module.package.path.iter().map(|name| name.text.clone()).collect()
}

/// The constant start of a rule's path.
fn rule_path(module: &Module, rule: &Rule) -> Path {
    let mut path = package_path(module);
    path.push(rule.head.name.text.clone());
    path.extend(rule.head.path.iter().map_while(|part| part.term.as_str().cloned()));
    path
}

fn link(path: &[Arc<str>], annotation: Option<&Annotation>) -> Value {
    let names: Vec<Value> = path.iter().map(|name| Value::string(name.clone())).collect();
    let mut members = vec![(Value::string("path"), Value::from(names))];
    members.extend(annotation.map(|annotation| (Value::string("annotations"), annotation.value.clone())));
    Value::from(Object::from_vec(members))
}
