//! The meaning of names within one module.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, Expr, Literal, Module, Ref, Rule, RuleHead};

use crate::nodes::{Node, nodes};
use crate::refs::{aliases, reference, resolve};
use crate::schema::Step;

pub(crate) struct Scope {
    pub(crate) package: Vec<String>,
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
    /// Names that stand for a place of the input wherever the module uses them.
    places: BTreeMap<String, Vec<Step>>,
    /// What names that are bound in one place are bound to.
    values: BTreeMap<String, Ref<Expr>>,
    /// All names that are bound somewhere.
    pub(crate) bound: BTreeSet<String>,
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

/// Names that a module binds in one place only, with what they are bound to: those alone mean the same everywhere. And
/// the names that it binds at all.
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
