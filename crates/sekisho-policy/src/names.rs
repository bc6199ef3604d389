//! Names are resolved when a set is loaded: rules, and places of the input. An unknown name would stay unnoticed behind
//! an unmet condition and then deny, or under `not` and then allow. Functions are the engine's to resolve.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_rego::syntax::ast::{HeadKind, Module, Span, Term, TermKind};

use crate::nodes::{Distinct, Node, nodes};
use crate::refs::{head_path, leading_path, package, resolve};
use crate::schema::{check_path, nearest};
use crate::scope::Scope;
use crate::source::PolicyError;
use crate::{digits, literals};

/// Functions that reach outside or draw lots: a decision is made from its input alone, and a replay has the same result
/// (law L13).
const UNAVAILABLE: [&str; 4] = ["http.send", "net.lookup_ip_addr", "rand.intn", "opa.runtime"];

/// Refuses a set with an unknown name, or a constant that can never be met.
pub(crate) fn check<'m>(
    modules: &'m [Module],
    distinct: &[Distinct<'m>],
    scopes: &[Scope<'m>],
    functions: &BTreeSet<String>,
) -> Result<(), PolicyError> {
    let known = Definitions::of(modules, distinct);
    modules.iter().zip(scopes).try_for_each(|(module, scope)| {
        let mut found = known.unknown_import(module);
        // In one module a text means the same everywhere.
        let (mut names, mut calls) = (BTreeSet::new(), BTreeSet::new());
        nodes(module, &mut |node| {
            if found.is_some() {
                return;
            }
            let (span, reason) = match node {
                Node::Statement(statement) => (statement.span, literals::in_statement(statement, scope)),
                Node::With(with, span) => (span, literals::in_modifier(with, scope)),
                Node::Term(term) => {
                    let unknown = match &term.kind {
                        TermKind::Ref { .. } | TermKind::Var(_) if !names.insert(scope.text(term)) => None,
                        TermKind::Ref { .. } | TermKind::Var(_) => scope.unknown_name(term, &known),
                        TermKind::Call { function, .. } if !calls.insert(scope.text(function)) => None,
                        TermKind::Call { function, .. } => scope.unavailable(function, functions),
                        TermKind::Number(text) => digits::too_long(text),
                        _ => None,
                    };
                    (term.span, unknown.or_else(|| literals::in_term(term, scope)))
                }
            };
            found = reason.map(|reason| (span, reason));
        });
        let Some((span, reason)) = found else { return Ok(()) };
        Err(PolicyError::At { file: module.source.file.to_string(), line: span.line, reason })
    })
}

/// The functions of a set, by their full names.
pub(crate) fn functions(modules: &[Module], distinct: &[Distinct<'_>]) -> BTreeSet<String> {
    let functions = |(module, distinct): (&Module, &Distinct<'_>)| {
        let package = package(module);
        let functions = distinct.rules().filter(|rule| matches!(rule.head.kind, HeadKind::Function { .. }));
        let names = functions.map(|rule| resolve(&head_path(&rule.head), &package, &BTreeMap::new()).join("."));
        names.collect::<Vec<_>>()
    };
    modules.iter().zip(distinct).flat_map(functions).collect()
}

/// What a set defines.
struct Definitions {
    /// Rules and functions by their full names.
    rules: BTreeSet<Vec<String>>,
    packages: BTreeSet<Vec<String>>,
}

impl Definitions {
    fn of(modules: &[Module], distinct: &[Distinct<'_>]) -> Self {
        let mut known = Self { rules: BTreeSet::new(), packages: BTreeSet::new() };
        for (module, distinct) in modules.iter().zip(distinct) {
            let package = package(module);
            known.packages.insert(std::iter::once("data".to_owned()).chain(package.iter().cloned()).collect());
            known
                .rules
                .extend(distinct.rules().map(|rule| resolve(&head_path(&rule.head), &package, &BTreeMap::new())));
        }
        known
    }

    /// Whether `path` is one of the names, leads to one, or goes on into its value.
    fn has(&self, path: &[String]) -> bool {
        let leads_to = |names: &BTreeSet<Vec<String>>| {
            names.range(path.to_vec()..).next().is_some_and(|name| name.starts_with(path))
        };
        let above = |end| path.get(..end).is_some_and(|above| self.rules.contains(above));
        leads_to(&self.rules) || leads_to(&self.packages) || (1..path.len()).any(above)
    }

    fn unknown(&self, path: &[String]) -> Option<String> {
        if self.has(path) {
            return None;
        }
        let (name, known) =
            (path.join("."), self.rules.iter().chain(&self.packages).map(|name| name.join(".")).collect::<Vec<_>>());
        let near = nearest(&name, known.iter().map(String::as_str));
        let guess = near.map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
        Some(format!("`{name}` is not a rule or a package of this set, so it is never defined{guess}"))
    }

    fn unknown_import(&self, module: &Module) -> Option<(Span, String)> {
        module.imports.iter().find_map(|import| {
            let path: Vec<String> = import.path.iter().map(|name| name.text.to_string()).collect();
            let path = Some(path).filter(|path| path.first().is_some_and(|root| root == "data"))?;
            Some((import.span, self.unknown(&path)?))
        })
    }
}

impl Scope<'_> {
    fn unavailable(&self, function: &Term, functions: &BTreeSet<String>) -> Option<String> {
        let path = leading_path(function);
        let name = path.join(".");
        (UNAVAILABLE.contains(&name.as_str()) && !self.is_own(&path, functions))
            .then(|| format!("`{name}` is not available: a decision follows from its input alone"))
    }

    /// A place that the input does not have, or a rule that the set does not have.
    fn unknown_name(&self, term: &Term, known: &Definitions) -> Option<String> {
        if let Some(steps) = self.input_steps(term) {
            return check_path(&steps).err();
        }
        let path = leading_path(term);
        let root = path.first()?;
        let outside =
            root == "data" || self.aliases.get(root).is_some_and(|path| path.first().is_some_and(|r| r == "data"));
        (outside && !self.bound.contains(root)).then(|| known.unknown(&resolve(&path, &self.package, &self.aliases)))?
    }
}

#[cfg(test)]
mod tests;
