//! The meaning of names within one module.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sekisho_rego::syntax::ast::{ExprKind, HeadKind, Module, Term, TermKind};

use crate::nodes::{Distinct, Node, rule_nodes};
use crate::refs::{aliases, head_name, only_value, package, resolve};
use crate::schema::{Place, Step, check_path};

pub(crate) struct Scope<'m> {
    pub(crate) package: Vec<String>,
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
    /// Names that stand for a place of the input wherever the module uses them.
    places: BTreeMap<String, Vec<Step>>,
    /// What names that are bound in one place are bound to.
    pub(crate) values: BTreeMap<String, &'m Term>,
    /// All names that are bound somewhere.
    pub(crate) bound: BTreeSet<String>,
    pub(crate) module: &'m Module,
    /// The steps of references, by their texts: in one module a text means the same everywhere.
    steps: RefCell<BTreeMap<&'m str, Option<Rc<[Step]>>>>,
    /// The kinds of places of the input, likewise.
    kinds: RefCell<BTreeMap<&'m str, Option<&'static Place>>>,
}

impl<'m> Scope<'m> {
    pub(crate) fn of(module: &'m Module, distinct: &Distinct<'m>) -> Self {
        let (package, aliases) = (package(module), aliases(module));
        let (values, bound) = bound_once(distinct);
        let (places, steps, kinds) = (BTreeMap::new(), RefCell::default(), RefCell::default());
        let mut scope = Self { package, aliases, places, values, bound, module, steps, kinds };
        for (name, path) in &scope.aliases {
            if let Some((root, rest)) = path.split_first()
                && root == "input"
            {
                scope.places.insert(name.clone(), rest.iter().cloned().map(Step::Name).collect());
            }
        }
        let places = scope.values.iter().filter_map(|(name, term)| Some((name.clone(), scope.steps_of(term)?)));
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

    /// What a name stands for, if it is bound once; else the term itself.
    pub(crate) fn value<'a>(&self, term: &'a Term) -> &'a Term
    where
        'm: 'a,
    {
        term.as_var().and_then(|name| self.values.get(&**name).copied()).unwrap_or(term)
    }

    /// The place of the input that a name stands for.
    pub(crate) fn place(&self, name: &str) -> Option<&[Step]> {
        self.places.get(name).map(Vec::as_slice)
    }

    /// The text of a term.
    pub(crate) fn text(&self, term: &Term) -> &'m str {
        term.span.text(&self.module.source.text)
    }

    /// The steps into the input that a reference takes; `None` for one that begins elsewhere.
    pub(crate) fn input_steps(&self, term: &Term) -> Option<Rc<[Step]>> {
        if !matches!(term.kind, TermKind::Var(_) | TermKind::Ref { .. }) {
            return None;
        }
        let text = self.text(term);
        if let Some(known) = self.steps.borrow().get(text) {
            return known.clone();
        }
        let steps: Option<Rc<[Step]>> = self.steps_of(term).map(Rc::from);
        self.steps.borrow_mut().insert(text, steps.clone());
        steps
    }

    /// What the input can hold where a term names a place of it.
    pub(crate) fn kind(&self, term: &Term) -> Option<&'static Place> {
        if !matches!(term.kind, TermKind::Var(_) | TermKind::Ref { .. }) {
            return None;
        }
        let text = self.text(term);
        if let Some(known) = self.kinds.borrow().get(text) {
            return *known;
        }
        let kind = self.input_steps(term).and_then(|steps| check_path(&steps).ok().flatten());
        self.kinds.borrow_mut().insert(text, kind);
        kind
    }

    fn steps_of(&self, term: &Term) -> Option<Vec<Step>> {
        match &term.kind {
            TermKind::Var(name) if &**name == "input" => Some(vec![]),
            TermKind::Var(name) => self.places.get(&**name).cloned(),
            TermKind::Ref { head, path } => {
                let mut steps = self.steps_of(head)?;
                steps.extend(path.iter().map(|part| match &part.term.kind {
                    TermKind::String { value, .. } => Step::Name(value.to_string()),
                    TermKind::Number(_) => Step::Number,
                    _ => Step::Any,
                }));
                Some(steps)
            }
            _ => None,
        }
    }
}

/// Names that a module binds in one place only, with what they are bound to: those alone mean the same everywhere. And
/// the names that it binds at all.
fn bound_once<'m>(distinct: &Distinct<'m>) -> (BTreeMap<String, &'m Term>, BTreeSet<String>) {
    let mut bound = BTreeMap::new();
    for rule in distinct.twice().filter(|rule| !rule.default) {
        match &rule.head.kind {
            HeadKind::Value(_) | HeadKind::Set { .. } => {
                head_name(&rule.head).into_iter().for_each(|name| bind(&mut bound, name, only_value(rule)));
            }
            HeadKind::Function { parameters, .. } => bind_each(&mut bound, parameters),
        }
    }
    let mut see = |node: Node<'m>| {
        let Node::Statement(statement) = node else { return };
        match &statement.kind {
            ExprKind::Some(names) => bind_each(&mut bound, names),
            ExprKind::SomeIn { key, value, .. } | ExprKind::Every { key, value, .. } => {
                bind_each(&mut bound, key.iter().chain([value]).map(|term| &**term));
            }
            ExprKind::Assign(left, right) => {
                left.as_var().into_iter().for_each(|name| bind(&mut bound, name, Some(right)));
            }
            ExprKind::Unify(left, _) => bind_each(&mut bound, [left]),
            _ => {}
        }
    };
    distinct.twice().for_each(|rule| rule_nodes(rule, &mut see));
    let names = bound.keys().cloned().collect();
    (bound.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(), names)
}

type Bound<'m> = BTreeMap<String, Option<&'m Term>>;

fn bind<'m>(bound: &mut Bound<'m>, name: &str, value: Option<&'m Term>) {
    bound.entry(name.to_owned()).and_modify(|known| *known = None).or_insert(value);
}

fn bind_each<'m>(bound: &mut Bound<'m>, terms: impl IntoIterator<Item = &'m Term>) {
    terms.into_iter().filter_map(Term::as_var).for_each(|name| bind(bound, name, None));
}
