//! Names are resolved when a set is loaded: functions, rules, and places of the input. A name that means nothing would wait
//! behind an unmet condition and then deny, or under `not` and then allow.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BUILTINS, Expr, Literal, Module, Ref, Rule, RuleHead};

use crate::lower::reference;
use crate::recursion::{aliases, head_of, leading_path, resolve};
use crate::schema::{Step, check_path, nearest};
use crate::walk::{Node, nodes};
use crate::{builtins, literals};

/// A name that means nothing, and where it stands.
#[derive(Debug)]
pub(crate) struct Unresolved {
    pub file: String,
    pub line: u32,
    pub reason: String,
}

/// The first name that means nothing, or mistake of another kind, if any.
pub(crate) fn find(modules: &[Ref<Module>]) -> Option<Unresolved> {
    let known = Known::of(modules);
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
    Known::of(modules).functions.into_keys().collect()
}

/// What a set defines.
struct Known {
    /// Functions by their full names, and their numbers of arguments.
    functions: BTreeMap<String, usize>,
    /// Rules and functions by their full names.
    rules: BTreeSet<Vec<String>>,
    packages: BTreeSet<Vec<String>>,
}

impl Known {
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

pub(crate) struct Scope {
    package: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    /// Names that stand for a place of the input wherever the module uses them.
    places: BTreeMap<String, Vec<Step>>,
    /// What names that are bound in one place are bound to.
    values: BTreeMap<String, Ref<Expr>>,
    /// All names that are bound somewhere.
    bound: BTreeSet<String>,
}

impl Scope {
    pub(crate) fn of(module: &Module) -> Self {
        let package = reference(&module.package.refr).unwrap_or_default();
        let aliases = aliases(module);
        let (values, bound) = bound_once(module);
        let mut scope = Self { package, aliases, places: BTreeMap::new(), values, bound };
        for (name, path) in &scope.aliases {
            if let Some((root, rest)) = path.split_first()
                && root == "input"
            {
                scope.places.insert(name.clone(), rest.iter().cloned().map(Step::Name).collect());
            }
        }
        let places = scope.values.iter().filter_map(|(name, expr)| Some((name.clone(), scope.input_steps(expr)?)));
        let places: Vec<_> = places.collect();
        scope.places.extend(places);
        scope
    }

    /// Whether `path` calls a function of the set, or what an import calls so, and not the builtin of that name.
    pub(crate) fn is_own(&self, path: &[String], functions: &BTreeSet<String>) -> bool {
        let own = resolve(path, &self.package, &self.aliases).join(".");
        functions.contains(&own) || path.first().is_some_and(|root| self.aliases.contains_key(root))
    }

    /// Whether a name of the module means another thing than the import of that name.
    pub(crate) fn hides_an_import(&self) -> bool {
        self.aliases.keys().any(|name| self.bound.contains(name))
    }

    fn unknown_import(&self, module: &Module, known: &Known) -> Option<Unresolved> {
        module.imports.iter().find_map(|import| {
            let path = reference(&import.refr).filter(|path| path.first().is_some_and(|root| root == "data"))?;
            let span = &import.span;
            let reason = known.unknown(&path)?;
            Some(Unresolved { file: span.source.file().clone(), line: span.line, reason })
        })
    }

    /// A place that the input does not have, or a rule that the set does not have.
    fn unknown_name(&self, expr: &Expr, known: &Known) -> Option<String> {
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

    /// What a name stands for, if it is bound once; else the expression itself.
    pub(crate) fn value<'a>(&'a self, expr: &'a Ref<Expr>) -> &'a Ref<Expr> {
        match &**expr {
            Expr::Var { value: Value::String(name), .. } => self.values.get(name.as_ref()).unwrap_or(expr),
            _ => expr,
        }
    }

    /// The steps into the input that a reference takes; `None` for one that begins elsewhere.
    pub(crate) fn input_steps(&self, expr: &Expr) -> Option<Vec<Step>> {
        let (inner, step) = match expr {
            Expr::Var { value: Value::String(name), .. } if name.as_ref() == "input" => return Some(vec![]),
            Expr::Var { value: Value::String(name), .. } => return self.places.get(name.as_ref()).cloned(),
            Expr::RefDot { refr, field, .. } => match &field.1 {
                Value::String(name) => (refr, Step::Name(name.to_string())),
                _ => (refr, Step::Any),
            },
            Expr::RefBrack { refr, index, .. } => match &**index {
                Expr::String { value: Value::String(name), .. }
                | Expr::RawString { value: Value::String(name), .. } => (refr, Step::Name(name.to_string())),
                Expr::Number { .. } => (refr, Step::Number),
                _ => (refr, Step::Any),
            },
            _ => return None,
        };
        let mut steps = self.input_steps(inner)?;
        steps.push(step);
        Some(steps)
    }
}

/// Names that a module binds in one place only, with what they are bound to: those alone mean the same everywhere. And the names
/// that it binds at all.
pub(crate) fn bound_once(module: &Module) -> (BTreeMap<String, Ref<Expr>>, BTreeSet<String>) {
    let mut bound = BTreeMap::<String, Option<Ref<Expr>>>::new();
    let mut bind = |name: String, value: Option<Ref<Expr>>| {
        bound.entry(name).and_modify(|known| *known = None).or_insert(value);
    };
    let variable = |expr: &Expr| match expr {
        Expr::Var { .. } => reference(expr).and_then(|path| path.first().cloned()),
        _ => None,
    };
    for rule in &module.policy {
        let Rule::Spec { head, bodies, .. } = &**rule else { continue };
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                let always = bodies.iter().all(|body| body.query.stmts.is_empty() && !body.is_else);
                let value = assign.as_ref().filter(|_| always).map(|assign| assign.value.clone());
                variable(refr).into_iter().for_each(|name| bind(name, value.clone()));
            }
            RuleHead::Func { args, .. } => {
                args.iter().filter_map(|argument| variable(argument)).for_each(|name| bind(name, None));
            }
            RuleHead::Set { refr, .. } => variable(refr).into_iter().for_each(|name| bind(name, None)),
        }
    }
    nodes(module, &mut |node| match node {
        Node::Statement(statement) => match &statement.literal {
            Literal::SomeVars { vars, .. } => vars.iter().for_each(|name| bind(name.text().to_owned(), None)),
            Literal::SomeIn { key, value, .. } => {
                key.iter().chain([value]).filter_map(|expr| variable(expr)).for_each(|name| bind(name, None));
            }
            Literal::Every { key, value, .. } => {
                key.iter().chain([value]).for_each(|name| bind(name.text().to_owned(), None));
            }
            Literal::Expr { .. } | Literal::NotExpr { .. } => {}
        },
        Node::Expression(Expr::AssignExpr { op, lhs, rhs, .. }) => {
            let value = (*op == AssignOp::ColEq).then(|| rhs.clone());
            variable(lhs).into_iter().for_each(|name| bind(name, value.clone()));
        }
        Node::Expression(_) => {}
    });
    let names = bound.keys().cloned().collect();
    (bound.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(), names)
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
