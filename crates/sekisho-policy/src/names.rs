//! Names are resolved when a set is loaded: functions, and places of the input. A name that means nothing would wait
//! behind an unmet condition and then deny, or under `not` and then allow.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BUILTINS, Expr, Literal, Module, Ref, Rule, RuleHead};

use crate::builtins;
use crate::lower::reference;
use crate::recursion::{aliases, leading_path, resolve};
use crate::schema::{Step, check_path, nearest};
use crate::walk::{Node, nodes};

/// A name that means nothing, and where it stands.
#[derive(Debug)]
pub(crate) struct Unresolved {
    pub file: String,
    pub line: u32,
    pub reason: String,
}

/// The first name that means nothing, if any.
pub(crate) fn find(modules: &[Ref<Module>]) -> Option<Unresolved> {
    let functions: BTreeSet<String> = modules.iter().flat_map(|module| functions_of(module)).collect();
    modules.iter().find_map(|module| {
        let scope = Scope::of(module);
        let mut found = None;
        nodes(module, &mut |node| {
            let Node::Expression(expr) = node else { return };
            let reason = match expr {
                _ if found.is_some() => None,
                Expr::Call { fcn, .. } => scope.unknown_function(fcn, &functions),
                Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                    scope.input_steps(expr).and_then(|steps| check_path(&steps).err())
                }
                _ => None,
            };
            if let Some(reason) = reason {
                let span = expr.span();
                found = Some(Unresolved { file: span.source.file().clone(), line: span.line, reason });
            }
        });
        found
    })
}

/// The functions that a module defines, by their full names.
fn functions_of(module: &Module) -> Vec<String> {
    let package = reference(&module.package.refr).unwrap_or_default();
    let named = module.policy.iter().filter_map(|rule| match &**rule {
        Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => Some(leading_path(refr)),
        Rule::Default { refr, args, .. } if !args.is_empty() => Some(leading_path(refr)),
        _ => None,
    });
    named.map(|path| resolve(&path, &package, &BTreeMap::new()).join(".")).collect()
}

struct Scope {
    package: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    /// Names that stand for a place of the input wherever the module uses them.
    places: BTreeMap<String, Vec<Step>>,
}

impl Scope {
    fn of(module: &Module) -> Self {
        let package = reference(&module.package.refr).unwrap_or_default();
        let aliases = aliases(module);
        let mut scope = Self { package, aliases, places: BTreeMap::new() };
        for (name, path) in &scope.aliases {
            if let Some((root, rest)) = path.split_first()
                && root == "input"
            {
                scope.places.insert(name.clone(), rest.iter().cloned().map(Step::Name).collect());
            }
        }
        let bound = bound_once(module);
        let bound = bound.into_iter().filter_map(|(name, expr)| Some((name, scope.input_steps(&expr)?)));
        let bound: Vec<_> = bound.collect();
        scope.places.extend(bound);
        scope
    }

    fn unknown_function(&self, called: &Expr, functions: &BTreeSet<String>) -> Option<String> {
        let path = leading_path(called);
        let name = path.join(".");
        let own = resolve(&path, &self.package, &self.aliases).join(".");
        if BUILTINS.contains_key(name.as_str()) || builtins::is_ours(&name) || functions.contains(&own) {
            return None;
        }
        let package = format!("data.{}.", self.package.join("."));
        let known = functions.iter().map(|known| known.strip_prefix(&package).unwrap_or(known));
        let near = nearest(&name, known.chain(BUILTINS.keys().copied()));
        let guess = near.map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
        Some(format!("`{name}` is neither a builtin nor a function of this set{guess}"))
    }

    /// The steps into the input that a reference takes; `None` for one that begins elsewhere.
    fn input_steps(&self, expr: &Expr) -> Option<Vec<Step>> {
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

/// Names that a module binds in one place only, with what they are bound to: those alone mean the same everywhere.
fn bound_once(module: &Module) -> BTreeMap<String, Ref<Expr>> {
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
    bound.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
