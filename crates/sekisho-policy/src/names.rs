//! Names are resolved when a set is loaded: functions, rules, and places of the input. An unknown name would stay
//! unnoticed behind an unmet condition and then deny, or under `not` and then allow.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{BUILTINS, Expr, Module, Ref, Rule, RuleHead};

use crate::nodes::{Node, nodes};
use crate::refs::{head_of, leading_path, reference, resolve};
use crate::schema::{check_path, nearest};
use crate::scope::Scope;
use crate::{builtins, literals};

/// An unknown name, and its place.
#[derive(Debug)]
pub(crate) struct Unresolved {
    pub file: String,
    pub line: u32,
    pub reason: String,
}

/// The first unknown name, or mistake of another kind, if any.
pub(crate) fn find(modules: &[Ref<Module>]) -> Option<Unresolved> {
    let known = Definitions::of(modules);
    modules.iter().find_map(|module| {
        let scope = Scope::of(module);
        let mut found = scope.unknown_import(module, &known);
        nodes(module, &mut |node| {
            if found.is_some() {
                return;
            }
            let (span, reason) = match node {
                Node::Statement(statement) => (&statement.span, literals::in_statement(statement, &scope)),
                Node::Expression(expr) => {
                    let reason = match expr {
                        Expr::Call { fcn, params, .. } => scope.wrong_call(fcn, params, &known.functions),
                        Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Var { .. } => {
                            scope.unknown_name(expr, &known)
                        }
                        _ => None,
                    };
                    (expr.span(), reason.or_else(|| literals::in_expression(expr, &scope)))
                }
            };
            found = reason.map(|reason| Unresolved { file: span.source.file().clone(), line: span.line, reason });
        });
        found
    })
}

/// The functions of a set, by their full names.
pub(crate) fn functions(modules: &[Ref<Module>]) -> BTreeSet<String> {
    Definitions::of(modules).functions.into_keys().collect()
}

/// What a set defines.
struct Definitions {
    /// Functions by their full names, and their numbers of arguments.
    functions: BTreeMap<String, usize>,
    /// Rules and functions by their full names.
    rules: BTreeSet<Vec<String>>,
    packages: BTreeSet<Vec<String>>,
}

impl Definitions {
    fn of(modules: &[Ref<Module>]) -> Self {
        let mut known = Self { functions: BTreeMap::new(), rules: BTreeSet::new(), packages: BTreeSet::new() };
        for module in modules {
            let package = reference(&module.package.refr).unwrap_or_default();
            known.packages.insert(std::iter::once("data".to_owned()).chain(package.iter().cloned()).collect());
            for rule in &module.policy {
                let name = resolve(&leading_path(head_of(rule)), &package, &BTreeMap::new());
                let arguments = match &**rule {
                    Rule::Spec { head: RuleHead::Func { args, .. }, .. } => Some(args.len()),
                    Rule::Default { args, .. } if !args.is_empty() => Some(args.len()),
                    _ => None,
                };
                known.functions.extend(arguments.map(|arguments| (name.join("."), arguments)));
                known.rules.insert(name);
            }
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
}

impl Scope {
    fn unknown_import(&self, module: &Module, known: &Definitions) -> Option<Unresolved> {
        module.imports.iter().find_map(|import| {
            let path = reference(&import.refr).filter(|path| path.first().is_some_and(|root| root == "data"))?;
            let span = &import.span;
            let reason = known.unknown(&path)?;
            Some(Unresolved { file: span.source.file().clone(), line: span.line, reason })
        })
    }

    /// A place that the input does not have, or a rule that the set does not have.
    fn unknown_name(&self, expr: &Expr, known: &Definitions) -> Option<String> {
        if let Some(steps) = self.input_steps(expr) {
            return check_path(&steps).err();
        }
        let path = leading_path(expr);
        let root = path.first()?;
        let outside =
            root == "data" || self.aliases.get(root).is_some_and(|path| path.first().is_some_and(|r| r == "data"));
        (outside && !self.bound.contains(root)).then(|| known.unknown(&resolve(&path, &self.package, &self.aliases)))?
    }

    fn wrong_call(
        &self,
        called: &Expr,
        arguments: &[Ref<Expr>],
        functions: &BTreeMap<String, usize>,
    ) -> Option<String> {
        let path = leading_path(called);
        let name = path.join(".");
        let own = resolve(&path, &self.package, &self.aliases).join(".");
        let arity = functions.get(&own).copied().or_else(|| builtins::arity(&name));
        if let Some(arity) = arity {
            return wrong_count(&name, arity, arguments);
        }
        if builtins::is_ours(&name) {
            return None;
        }
        let package = format!("data.{}.", self.package.join("."));
        let known = functions.keys().map(|known| known.strip_prefix(&package).unwrap_or(known));
        let near = nearest(&name, known.chain(BUILTINS.keys().copied()));
        let guess = near.map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
        Some(format!("`{name}` is neither a builtin nor a function of this set{guess}"))
    }
}

/// One more than the function has is the variable that its result is given to.
fn wrong_count(name: &str, arity: usize, arguments: &[Ref<Expr>]) -> Option<String> {
    let result = arguments.len() == arity + 1 && matches!(arguments.last().map(|last| &**last), Some(Expr::Var { .. }));
    if arguments.len() == arity || result {
        return None;
    }
    let plural = if arity == 1 { "" } else { "s" };
    Some(format!("`{name}` has {arity} argument{plural}, and this call gives it {}", arguments.len()))
}

#[cfg(test)]
mod tests;
