//! Bounds on the size of values. The engine multiplies without a limit: twenty squarings in a row make a number that
//! fills the memory. It stores a list that holds another list twice only once, but compares it as two: a comparison of
//! forty such lists in a row does not finish. So products, and names within lists, sets and objects, are bounded when a
//! set is loaded.

use std::collections::BTreeMap;

use regorus::unstable::{ArithOp, AssignOp, Expr, Literal, Module, Ref, Rule, RuleHead};

use crate::names::Unresolved;
use crate::nodes::{Node, children, rule_nodes};
use crate::refs::{Name, aliases, declared, head_of, leading_path, reference, resolve};

/// Most factors in a product, with those of the names in it.
const MAX_FACTORS: u32 = 64;
/// Most names within a written list, set or object, with the values of those names.
const MAX_COPIES: u32 = 4096;
/// Most characters of a number as it is written.
const MAX_WRITTEN: usize = 1000;

/// Upper bounds of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    /// Numbers that are multiplied.
    factors: u32,
    /// Values of other names that it holds; none for a constant.
    copies: u32,
}

impl Size {
    const CONSTANT: Self = Self { factors: 1, copies: 0 };
    const ONE: Self = Self { factors: 1, copies: 1 };
    const ENDLESS: Self = Self { factors: u32::MAX, copies: u32::MAX };

    /// Of a value that is one of the two.
    fn or(self, other: Self) -> Self {
        Self { factors: self.factors.max(other.factors), copies: self.copies.max(other.copies) }
    }

    /// Of a value that holds both.
    fn and(self, other: Self) -> Self {
        Self { copies: self.copies.saturating_add(other.copies), ..self.or(other) }
    }

    fn too_large(self) -> Option<String> {
        if self.factors > MAX_FACTORS {
            Some(format!("multiplies more than {MAX_FACTORS} factors, with those of the names in it"))
        } else if self.copies > MAX_COPIES {
            Some(format!("makes a value that holds more than {MAX_COPIES} others, with those of the names in it"))
        } else {
            None
        }
    }
}

struct Rules<'a> {
    named: BTreeMap<Name, Vec<(&'a Rule, &'a Module)>>,
    /// The upper bounds of each rule's values; a rule in progress counts as one.
    known: BTreeMap<Name, Size>,
}

/// The variables of one rule, with all that they are bound to.
struct Scope<'a> {
    package: Name,
    aliases: BTreeMap<String, Name>,
    bound: BTreeMap<String, Vec<&'a Expr>>,
    known: BTreeMap<String, Size>,
}

/// The first rule whose numbers could become too long.
pub(crate) fn find(modules: &[Ref<Module>]) -> Option<Unresolved> {
    let mut rules = Rules { named: BTreeMap::new(), known: BTreeMap::new() };
    for module in modules {
        let package = reference(&module.package.refr).unwrap_or_default();
        for rule in &module.policy {
            let name = resolve(&leading_path(head_of(rule)), &package, &BTreeMap::new());
            rules.named.entry(name).or_default().push((rule, module));
        }
    }
    let names: Vec<Name> = rules.named.keys().cloned().collect();
    let written = modules.iter().find_map(|module| {
        let rule = module.policy.iter().find(|rule| {
            let mut long = false;
            rule_nodes(rule, &mut |node| {
                long |= matches!(node, Node::Expression(Expr::Number { span, .. }) if span.text().len() > MAX_WRITTEN);
            });
            long
        });
        rule.map(|rule| (&**rule, format!("a number of more than {MAX_WRITTEN} characters")))
    });
    let (rule, reason) = match written {
        Some(found) => found,
        None => {
            let (name, reason) = names.iter().find_map(|name| Some((name, rules.of_name(name).too_large()?)))?;
            let (rule, _) = rules.named.get(name)?.first()?;
            (*rule, format!("`{}` {reason}", name.join(".")))
        }
    };
    let span = rule.span();
    Some(Unresolved { file: span.source.file().clone(), line: span.line, reason })
}

impl Rules<'_> {
    fn of_name(&mut self, name: &Name) -> Size {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        self.known.insert(name.clone(), Size::ONE);
        let rules = self.named.get(name).cloned().unwrap_or_default();
        let most =
            rules.into_iter().map(|(rule, module)| self.of_rule(rule, module)).reduce(Size::or).unwrap_or(Size::ONE);
        let most = most.or(Size::ONE);
        self.known.insert(name.clone(), most);
        most
    }

    fn of_rule(&mut self, rule: &Rule, module: &Module) -> Size {
        let (mut bound, mut all) = (BTreeMap::<String, Vec<&Expr>>::new(), Vec::new());
        let mut bind = |pattern: &Expr, value| {
            declared(pattern).into_iter().for_each(|name| bound.entry(name).or_default().push(value));
        };
        rule_nodes(rule, &mut |node| match node {
            Node::Expression(expr) => {
                if let Expr::AssignExpr { op, lhs, rhs, .. } = expr {
                    bind(lhs, &**rhs);
                    if *op == AssignOp::Eq {
                        bind(rhs, &**lhs);
                    }
                }
                all.push(expr);
            }
            Node::Statement(statement) => {
                if let Literal::SomeIn { key, value, collection, .. } = &statement.literal {
                    key.iter().chain([value]).for_each(|pattern| bind(pattern, &**collection));
                }
            }
        });
        if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule {
            // What a call gives is counted where it calls.
            args.iter().flat_map(|argument| declared(argument)).for_each(|name| drop(bound.insert(name, vec![])));
        }
        let package = reference(&module.package.refr).unwrap_or_default();
        let mut scope = Scope { package, aliases: aliases(module), bound, known: BTreeMap::new() };
        all.into_iter().map(|expr| self.of(expr, &mut scope, 0)).reduce(Size::or).unwrap_or(Size::ONE)
    }

    fn of(&mut self, expr: &Expr, scope: &mut Scope<'_>, depth: u32) -> Size {
        // Patterns that stand for each other, as in `x = y`.
        if depth > 4096 {
            return Size::ENDLESS;
        }
        match expr {
            Expr::ArithExpr { op: ArithOp::Mul, lhs, rhs, .. } => {
                let (left, right) = (self.of(lhs, scope, depth + 1), self.of(rhs, scope, depth + 1));
                Size { factors: left.factors.saturating_add(right.factors), ..left.or(right) }
            }
            Expr::Var { .. } => self.of_variable(expr, scope, depth),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                let path = leading_path(expr);
                if path.first().is_some_and(|root| root != "input" && !scope.bound.contains_key(root)) {
                    return self.used(&resolve(&path, &scope.package, &scope.aliases));
                }
                self.parts(expr, scope, depth).reduce(Size::or).unwrap_or(Size::ONE)
            }
            Expr::Call { fcn, params, .. } => {
                let own = self.used(&resolve(&leading_path(fcn), &scope.package, &scope.aliases));
                let given = params.iter().map(|part| self.of(part, scope, depth + 1));
                let given = given.reduce(Size::and).unwrap_or(Size::ONE);
                Size {
                    factors: own.factors.saturating_mul(given.factors),
                    copies: own.copies.max(1).saturating_mul(given.copies),
                }
            }
            Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } | Expr::BinExpr { .. } => {
                self.parts(expr, scope, depth).reduce(Size::and).unwrap_or(Size::CONSTANT)
            }
            _ => self.parts(expr, scope, depth).reduce(Size::or).unwrap_or(Size::CONSTANT),
        }
    }

    fn parts(&mut self, expr: &Expr, scope: &mut Scope<'_>, depth: u32) -> impl Iterator<Item = Size> + use<> {
        let parts: Vec<Size> = children(expr).into_iter().map(|part| self.of(part, scope, depth + 1)).collect();
        parts.into_iter()
    }

    fn of_variable(&mut self, expr: &Expr, scope: &mut Scope<'_>, depth: u32) -> Size {
        let Some(name) = reference(expr).and_then(|path| path.into_iter().next()) else { return Size::ONE };
        if let Some(known) = scope.known.get(&name) {
            return *known;
        }
        let Some(values) = scope.bound.get(&name).cloned() else {
            return self.used(&resolve(&[name], &scope.package, &scope.aliases));
        };
        scope.known.insert(name.clone(), Size::ONE);
        let most =
            values.into_iter().map(|value| self.of(value, scope, depth + 1)).reduce(Size::or).unwrap_or(Size::ONE);
        // However small, it is held once more.
        let most = most.or(Size::ONE);
        scope.known.insert(name, most);
        most
    }

    /// A rule by its name, or by one that goes on into its value.
    fn used(&mut self, path: &[String]) -> Size {
        let found =
            (1..=path.len()).rev().filter_map(|end| path.get(..end)).find(|name| self.named.contains_key(*name));
        found.map(<[String]>::to_vec).map_or(Size::ONE, |name| self.of_name(&name))
    }
}
