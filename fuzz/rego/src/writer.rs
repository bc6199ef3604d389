//! Writes terms, bodies and rules of the language: mostly such as a compiler accepts.

use sekisho_rego::syntax::ast::Version;

use crate::constants::{KINDS, Kind, constant};
use crate::documents::MEMBERS;
use crate::random::Random;

/// A rule that later rules may use.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) form: Form,
    /// The kind of its value, or of its elements.
    pub(crate) kind: Kind,
}

/// What a rule makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Complete,
    Set,
    Object,
    /// A function of that many arguments.
    Function(usize),
}

/// Writes one rule at a time. Its variables have names of their own, so that none hides another.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) version: Version,
    /// Whether `in`, `every`, `if` and `contains` are words of the language here.
    pub(crate) keywords: bool,
    pub(crate) known: &'a [Known],
    /// Variables with a value, and their kinds.
    pub(crate) variables: Vec<(String, Kind)>,
    pub(crate) next: usize,
}

impl Writer<'_> {
    pub(crate) fn pick<'b>(&mut self, of: &[&'b str]) -> &'b str {
        self.random.pick(of)
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.random.one_in(count)
    }

    /// A name that no variable has yet.
    pub(crate) fn fresh(&mut self) -> String {
        self.next += 1;
        format!("x{}", self.next)
    }

    /// A name that has a value from here on.
    pub(crate) fn bind(&mut self, kind: Kind) -> String {
        let name = self.fresh();
        self.variables.push((name.clone(), kind));
        name
    }

    pub(crate) fn any_kind(&mut self) -> Kind {
        KINDS[self.random.below(KINDS.len() - 1)]
    }

    pub(crate) fn constant(&mut self, kind: Kind, depth: usize) -> String {
        constant(self.random, kind, depth)
    }

    /// A variable of a kind, or of any.
    pub(crate) fn variable(&mut self, kind: Kind) -> Option<String> {
        let fits = |one: &&(String, Kind)| kind == Kind::Any || one.1 == kind || one.1 == Kind::Any;
        let all: Vec<String> = self.variables.iter().filter(fits).map(|one| one.0.clone()).collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len())].clone())
    }

    /// A known rule of a form.
    pub(crate) fn rule(&mut self, fits: impl Fn(&Known) -> bool) -> Option<Known> {
        let all: Vec<&Known> = self.known.iter().filter(|known| fits(known)).collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len())].clone())
    }

    /// A document's place that may have a kind.
    pub(crate) fn place(&mut self, kind: Kind) -> String {
        let root = self.pick(&["input", "input", "input", "data.d", "data[\"d\"]", "data.lib"]).to_owned();
        if root == "data.lib" {
            return format!("data.lib.{}", self.pick(&["one", "pairs", "list", "twice"]));
        }
        let deep = match kind {
            Kind::Number => self.pick(&["xs[0]", "xs[_]", "os[0].n", "os[_].n", "o.n", ""]),
            Kind::String => self.pick(&["ss[1]", "ss[_]", "os[_].id", "o.a", ""]),
            Kind::Array => self.pick(&["os[0].tags", "", ""]),
            Kind::Any => self.pick(&["mix", "mix[_]", "o[_]", "o[\"a\"]", "os[1]", "os[_][_]", "xs[_]", "none", ""]),
            _ => "",
        };
        if !deep.is_empty() {
            return format!("{root}.{deep}");
        }
        if kind == Kind::Object && self.one_in(4) {
            return root;
        }
        let fits: Vec<&str> =
            MEMBERS.iter().filter(|one| kind == Kind::Any || one.1 == kind).map(|one| one.0).collect();
        let Some(name) = (!fits.is_empty()).then(|| fits[self.random.below(fits.len())]) else {
            return format!("{root}.mix");
        };
        if self.one_in(4) { format!("{root}[\"{name}\"]") } else { format!("{root}.{name}") }
    }

    /// Runs with the variables of an inner scope, which end there.
    pub(crate) fn scoped<R>(&mut self, inner: impl FnOnce(&mut Self) -> R) -> R {
        let outside = self.variables.len();
        let result = inner(self);
        self.variables.truncate(outside);
        result
    }
}
