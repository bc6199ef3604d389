//! From a syntax tree to flat steps: names are resolved, declarations checked.

mod body;
mod call;
mod rule;
mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::declared::Names;
use super::flat::{Base, Item, Step, StepKind, VarId, Variables, Vars};
use super::globals::Globals;
use super::scope::{Occurrence, Scopes};
use crate::syntax::ast::{Body, Source, Span};
use crate::syntax::error::{Code, Error};

/// What a module needs to be made flat.
pub(super) struct Builder<'a> {
    source: &'a Source,
    globals: &'a Globals,
    variables: &'a mut Variables,
    strict: bool,
    scopes: Scopes,
    /// The names declared in the rule and in the comprehensions around the current place.
    hidden: Vec<Names>,
    /// The variables that nothing declares, by name; the same in the whole rule.
    free: BTreeMap<Arc<str>, VarId>,
    wildcards: BTreeMap<u32, VarId>,
    pub(super) used_imports: BTreeSet<usize>,
    pub(super) errors: Vec<Error>,
    /// Declared or assigned names that nothing uses.
    pub(super) unused: Vec<Error>,
}

/// Makes a query flat. The names of its variables are those of the text.
pub(super) fn query(builder: &mut Builder<'_>, body: &Body) -> Vec<Step> {
    builder.begin_rule();
    builder.hidden.push(super::declared::in_body(body));
    let mut steps = Vec::new();
    builder.body(body, &mut steps);
    builder.report_unused(body, &steps, &Vars::new());
    steps
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: &'a Source, globals: &'a Globals, variables: &'a mut Variables, strict: bool) -> Self {
        Self {
            source,
            globals,
            variables,
            strict,
            scopes: Scopes::new(),
            hidden: Vec::new(),
            free: BTreeMap::new(),
            wildcards: BTreeMap::new(),
            used_imports: BTreeSet::new(),
            errors: Vec::new(),
            unused: Vec::new(),
        }
    }

    fn begin_rule(&mut self) {
        self.scopes = Scopes::new();
        self.hidden.clear();
        self.free.clear();
        self.wildcards.clear();
    }

    fn report(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.errors.push(Error::new(code, self.source, span, message));
    }

    fn text(&self, span: Span) -> &'a str {
        span.text(&self.source.text)
    }

    /// The global a name stands for, unless a declaration hides it.
    fn global(&mut self, name: &str) -> Option<Vec<Arc<str>>> {
        if self.hidden.iter().any(|names| names.contains(name)) {
            return None;
        }
        let global = self.globals.get(name)?;
        self.used_imports.extend(global.import);
        Some(global.path.clone())
    }

    /// The variable of a name, declared or free.
    fn local(&mut self, name: &Arc<str>) -> VarId {
        if let Some(entry) = self.scopes.find(name) {
            self.scopes.seen(name);
            return entry.id;
        }
        let id = match self.free.get(name) {
            Some(id) => *id,
            None => {
                let id = self.variables.named(name);
                self.free.insert(name.clone(), id);
                id
            }
        };
        self.scopes.insert(name, id, Occurrence::Seen);
        id
    }

    fn wildcard(&mut self, number: u32) -> VarId {
        if let Some(id) = self.wildcards.get(&number) {
            return *id;
        }
        let id = self.variables.named(&Arc::from("_"));
        self.wildcards.insert(number, id);
        id
    }

    /// What a name stands for.
    fn name(&mut self, name: &Arc<str>) -> Item {
        if matches!(&**name, "data" | "input") {
            if let Some(entry) = self.scopes.find(name).filter(|entry| entry.occurrence != Occurrence::Seen) {
                self.scopes.seen(name);
                return Item::Var(entry.id);
            }
            return Item::Ref(if &**name == "data" { Base::Data } else { Base::Input }, Vec::new());
        }
        match self.global(name) {
            Some(path) => reference_of(&path),
            None => Item::Var(self.local(name)),
        }
    }

    /// Declares a name in the current scope.
    fn declare(&mut self, name: &Arc<str>, span: Span, occurrence: Occurrence) -> VarId {
        let message = match self.scopes.occurrence(name) {
            Some(Occurrence::Seen) => format!("var {name} referenced above"),
            Some(Occurrence::Assigned) => format!("var {name} assigned above"),
            Some(Occurrence::Declared) => format!("var {name} declared above"),
            Some(Occurrence::Argument) => format!("arg {name} redeclared"),
            None => {
                let id = self.variables.named(name);
                self.scopes.insert(name, id, occurrence);
                return id;
            }
        };
        self.report(Code::Compile, span, message);
        self.local(name)
    }

    /// A generated variable equal to an item.
    fn capture(&mut self, item: Item, span: Span, out: &mut Vec<Step>) -> VarId {
        let id = self.variables.generated();
        out.push(Step::generated(span, StepKind::Equal { left: Item::Var(id), right: item, assigned: false }));
        id
    }
}

/// A reference to a path that starts with `data` or `input`.
fn reference_of(path: &[Arc<str>]) -> Item {
    let base = if path.first().is_some_and(|root| &**root == "input") { Base::Input } else { Base::Data };
    Item::Ref(base, path.iter().skip(1).map(|name| Item::String(name.clone())).collect())
}
