//! The types that annotations give to the input and to data in a rule.

use super::super::flat::FlatRule;
use super::schema::{put, schema_type};
use super::schemas::Schemas;
use crate::builtins::Type;
use crate::syntax::ast::{Annotation, Module, Rule, Scope, Target};
use crate::syntax::error::{Code, Error};
use crate::value::Value;

/// Types of documents in one rule.
#[derive(Clone)]
pub(super) struct Annotated {
    pub(super) input: Type,
    /// Paths below `data`, the most general first.
    pub(super) data: Vec<(Vec<String>, Type)>,
}

impl Annotated {
    /// The type at a path of data, and how many of its names lead there.
    pub(super) fn of_data(&self, names: &[&str]) -> Option<(usize, Type)> {
        let starts = |path: &[String]| path.len() <= names.len() && path.iter().zip(names).all(|(a, b)| a == b);
        let found = self.data.iter().filter(|(path, _)| starts(path)).max_by_key(|(path, _)| path.len());
        found.map(|(path, kind)| (path.len(), kind.clone()))
    }
}

/// What holds in a rule: annotations of the packages above, of the package, of the document and of the rule; a later
/// one replaces what an earlier one says of the same path.
pub(super) fn annotated(
    module: &Module,
    noted: &[(&Module, &Annotation)],
    schemas: &Schemas,
    rule: &FlatRule,
    errors: &mut Vec<Error>,
) -> Annotated {
    let mut found = Annotated { input: schemas.input(), data: Vec::new() };
    let mut all: Vec<(usize, usize, &Annotation)> = Vec::new();
    for (other, annotation) in noted {
        all.extend(rank(other, annotation, module, rule).map(|(rank, depth)| (rank, depth, *annotation)));
    }
    all.sort_by_key(|(rank, depth, _)| (*rank, *depth));
    for (_, _, annotation) in all {
        for entry in entries(annotation) {
            match typed(entry, schemas) {
                Ok(Some((path, kind))) => found.put(&path, kind),
                Ok(None) => {}
                Err(message) => errors.push(Error::new(Code::Type, &module.source, rule.span, message)),
            }
        }
    }
    found
}

/// The annotations with schemas.
pub(super) fn noted(modules: &[Module]) -> Vec<(&Module, &Annotation)> {
    let of = |module| move |annotation| (module, annotation);
    let all = modules.iter().flat_map(|module: &Module| module.annotations.iter().map(of(module)));
    all.filter(|(_, annotation)| entries(annotation).next().is_some()).collect()
}

fn entries(annotation: &Annotation) -> impl Iterator<Item = &Value> {
    let list = annotation.value.get(&Value::from("schemas")).and_then(Value::as_array);
    list.into_iter().flat_map(|list| list.iter())
}

/// How specific an annotation is for a rule: its scope, then the length of its path; none where it is about others.
fn rank(other: &Module, annotation: &Annotation, module: &Module, rule: &FlatRule) -> Option<(usize, usize)> {
    let names = |module: &Module| module.package.path.iter().map(|name| name.text.clone()).collect::<Vec<_>>();
    let (theirs, own) = (names(other), names(module));
    let head = |rule: &Rule| {
        let parts = rule.head.path.iter().map_while(|part| part.term.as_str().cloned());
        std::iter::once(rule.head.name.text.clone()).chain(parts).collect::<Vec<_>>()
    };
    match (annotation.scope, annotation.target) {
        (Scope::Subpackages, _) => own.starts_with(&theirs).then_some((0, theirs.len())),
        (Scope::Package, _) => (own == theirs).then_some((1, 0)),
        (Scope::Document, Target::Rule(at)) => {
            let same = own == theirs && head(other.rules.get(at)?) == head(module.rules.get(rule.rule)?);
            same.then_some((2, 0))
        }
        (Scope::Rule, Target::Rule(at)) => (std::ptr::eq(other, module) && at == rule.rule).then_some((3, 0)),
        _ => None,
    }
}

/// The path and the type of one entry; none where it refers to a schema and there are none.
fn typed(entry: &Value, schemas: &Schemas) -> Result<Option<(Vec<String>, Type)>, String> {
    let names = |name: &str| -> Option<Vec<String>> {
        let list = entry.get(&Value::from(name))?.as_array()?;
        Some(list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
    };
    let path = names("path").unwrap_or_default();
    if let Some(definition) = entry.get(&Value::from("definition")) {
        return Ok(Some((path, schema_type(definition)?)));
    }
    let reference = names("schema").unwrap_or_default();
    if schemas.is_empty() {
        return Ok(None);
    }
    match schemas.get(reference.get(1..).unwrap_or_default()) {
        Some(kind) => Ok(Some((path, kind.clone()))),
        None => Err(format!("undefined schema: {}", reference.join("."))),
    }
}

impl Annotated {
    fn put(&mut self, path: &[String], kind: Type) {
        match path.split_first() {
            Some((root, rest)) if root == "input" => {
                let input = std::mem::replace(&mut self.input, Type::Any);
                self.input = put(input, rest, kind);
            }
            Some((root, rest)) if root == "data" => {
                self.data.retain(|(known, _)| known != rest);
                self.data.push((rest.to_vec(), kind));
            }
            _ => {}
        }
    }
}
