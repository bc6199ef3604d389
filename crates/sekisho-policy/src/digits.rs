//! Bounds on the size of values. Twenty squarings in a row make a number that fills the memory. A list that holds
//! another list twice is stored once, but compared as two: a comparison of forty such lists in a row does not finish.
//! So products, and names within lists, sets and objects, are bounded when a set is loaded.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_rego::syntax::ast::{ExprKind, HeadKind, InfixOp, Module, Rule, Term, TermKind};

use crate::nodes::{Distinct, Node, children, rule_nodes};
use crate::refs::{Name, aliases, declared, head_path, leading_path, package, resolve, root};
use crate::source::PolicyError;

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
    named: BTreeMap<Name, Vec<(&'a Rule, usize)>>,
    modules: Vec<Names>,
    /// The upper bounds of each rule's values; a rule in progress counts as one.
    known: BTreeMap<Name, Size>,
}

/// The names of one module.
struct Names {
    package: Name,
    aliases: BTreeMap<String, Name>,
    /// The words that a reference to a rule or an import begins with.
    own: BTreeSet<String>,
}

/// The variables of one rule, with all that they are bound to.
struct Scope<'a> {
    module: usize,
    bound: BTreeMap<String, Vec<&'a Term>>,
    known: BTreeMap<String, Size>,
}

/// Refuses a number that is too long to be computed with.
pub(crate) fn too_long(number: &str) -> Option<String> {
    (number.len() > MAX_WRITTEN).then(|| format!("a number of more than {MAX_WRITTEN} characters"))
}

/// Refuses a set with a rule whose values could become too large.
pub(crate) fn check<'m>(modules: &'m [Module], distinct: &[Distinct<'m>]) -> Result<(), PolicyError> {
    let refused = |module: &Module, rule: &Rule, reason: String| {
        Err(PolicyError::At { file: module.source.file.to_string(), line: rule.span.line, reason })
    };
    let mut rules = Rules { named: BTreeMap::new(), modules: Vec::new(), known: BTreeMap::new() };
    for (number, (module, distinct)) in modules.iter().zip(distinct).enumerate() {
        let package = package(module);
        for rule in distinct.rules() {
            let name = resolve(&head_path(&rule.head), &package, &BTreeMap::new());
            rules.named.entry(name).or_default().push((rule, number));
        }
    }
    rules.modules = modules.iter().map(|module| Names::of(module, &rules.named)).collect();
    let names: Vec<Name> = rules.named.keys().cloned().collect();
    let large = names.iter().find_map(|name| Some((name, rules.of_name(name).too_large()?)));
    let first = |name: &Name| {
        let (rule, number) = rules.named.get(name)?.first()?;
        Some((*rule, modules.get(*number)?))
    };
    match large.and_then(|(name, reason)| Some((first(name)?, name, reason))) {
        Some(((rule, module), name, reason)) => refused(module, rule, format!("`{}` {reason}", name.join("."))),
        None => Ok(()),
    }
}

impl<'a> Rules<'a> {
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

    fn of_rule(&mut self, rule: &'a Rule, module: usize) -> Size {
        let (mut bound, mut all) = (BTreeMap::<String, Vec<&Term>>::new(), Vec::new());
        let mut bind = |pattern: &Term, value: &'a Term| {
            declared(pattern).into_iter().for_each(|name| bound.entry(name).or_default().push(value));
        };
        rule_nodes(rule, &mut |node| match node {
            Node::Term(term) => all.push(term),
            Node::With(..) => {}
            Node::Statement(statement) => match &statement.kind {
                ExprKind::Assign(left, right) => bind(left, right),
                ExprKind::Unify(left, right) => {
                    bind(left, right);
                    bind(right, left);
                }
                ExprKind::SomeIn { key, value, collection } => {
                    key.iter().chain([value]).for_each(|pattern| bind(pattern, collection));
                }
                _ => {}
            },
        });
        if let HeadKind::Function { parameters, .. } = &rule.head.kind {
            // What a call gives is counted where it calls.
            parameters.iter().flat_map(declared).for_each(|name| drop(bound.insert(name, vec![])));
        }
        let mut scope = Scope { module, bound, known: BTreeMap::new() };
        all.into_iter().map(|term| self.of(term, &mut scope, 0)).reduce(Size::or).unwrap_or(Size::ONE)
    }

    fn of(&mut self, term: &Term, scope: &mut Scope<'_>, depth: u32) -> Size {
        // Patterns that stand for each other, as in `x = y`.
        if depth > 4096 {
            return Size::ENDLESS;
        }
        match &term.kind {
            TermKind::Infix { op: InfixOp::Multiply, left, right, .. } => {
                let (left, right) = (self.of(left, scope, depth + 1), self.of(right, scope, depth + 1));
                Size { factors: left.factors.saturating_add(right.factors), ..left.or(right) }
            }
            TermKind::Var(name) => self.of_variable(name, term, scope, depth),
            TermKind::Ref { head, .. } => {
                if root(term).is_some_and(|root| root != "input" && !scope.bound.contains_key(root)) {
                    return self.used(term, scope);
                }
                let head = head.as_var().map(|name| self.of_variable(name, head, scope, depth));
                head.into_iter().chain(self.parts(term, scope, depth, Size::or)).reduce(Size::or).unwrap_or(Size::ONE)
            }
            TermKind::Call { function, arguments } => {
                let own = self.used(function, scope);
                let given = arguments.iter().map(|part| self.of(part, scope, depth + 1));
                let given = given.reduce(Size::and).unwrap_or(Size::ONE);
                Size {
                    factors: own.factors.saturating_mul(given.factors),
                    copies: own.copies.max(1).saturating_mul(given.copies),
                }
            }
            TermKind::Array(_)
            | TermKind::Set(_)
            | TermKind::Object(_)
            | TermKind::Infix { op: InfixOp::Union | InfixOp::Intersection, .. } => {
                self.parts(term, scope, depth, Size::and).unwrap_or(Size::CONSTANT)
            }
            _ => self.parts(term, scope, depth, Size::or).unwrap_or(Size::CONSTANT),
        }
    }

    /// The bounds of the parts of a term, taken together.
    fn parts(&mut self, term: &Term, scope: &mut Scope<'_>, depth: u32, both: fn(Size, Size) -> Size) -> Option<Size> {
        let mut all: Option<Size> = None;
        children(term, &mut |part| {
            let size = self.of(part, scope, depth + 1);
            all = Some(all.map_or(size, |all| both(all, size)));
        });
        all
    }

    fn of_variable(&mut self, name: &str, term: &Term, scope: &mut Scope<'_>, depth: u32) -> Size {
        if let Some(known) = scope.known.get(name) {
            return *known;
        }
        let Some(values) = scope.bound.get(name).cloned() else {
            return self.used(term, scope);
        };
        scope.known.insert(name.to_owned(), Size::ONE);
        let most =
            values.into_iter().map(|value| self.of(value, scope, depth + 1)).reduce(Size::or).unwrap_or(Size::ONE);
        // However small, it is held once more.
        let most = most.or(Size::ONE);
        scope.known.insert(name.to_owned(), most);
        most
    }

    /// A rule by a reference to it, or by one that goes on into its value.
    fn used(&mut self, term: &Term, scope: &Scope<'_>) -> Size {
        let Some(names) = self.modules.get(scope.module) else { return Size::ONE };
        if !root(term).is_some_and(|root| names.own.contains(root)) {
            return Size::ONE;
        }
        let path = resolve(&leading_path(term), &names.package, &names.aliases);
        let found =
            (1..=path.len()).rev().filter_map(|end| path.get(..end)).find(|name| self.named.contains_key(*name));
        found.map(<[String]>::to_vec).map_or(Size::ONE, |name| self.of_name(&name))
    }
}

impl Names {
    fn of(module: &Module, named: &BTreeMap<Name, Vec<(&Rule, usize)>>) -> Self {
        let (package, aliases) = (package(module), aliases(module));
        let mut own: BTreeSet<String> = aliases.keys().cloned().collect();
        own.insert("data".to_owned());
        let whole: Name = std::iter::once("data".to_owned()).chain(package.iter().cloned()).collect();
        for name in named.keys() {
            own.extend(name.strip_prefix(&*whole).and_then(|rest| rest.first()).cloned());
        }
        Self { package, aliases, own }
    }
}
