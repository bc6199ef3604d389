//! Modules, imports and rules.

use std::sync::Arc;

use super::node::{Body, Name, RefPart, Source, Span, Term};
use crate::syntax::error::Error;
use crate::value::Value;

/// The version of the language a module is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// The language before OPA 1.0: `if`, `contains`, `in` and `every` only after an import.
    V0,
    /// The language since OPA 1.0.
    #[default]
    V1,
}

/// A module: one file.
#[derive(Clone, Debug)]
pub struct Module {
    /// The text the spans refer to.
    pub source: Arc<Source>,
    /// The version the module was parsed as.
    pub version: Version,
    /// Whether the module follows v1's rules although `version` is V0: it has `import rego.v1`.
    pub rego_v1: bool,
    /// The package.
    pub package: Package,
    /// The imports, `rego.v1` and `future.keywords` among them.
    pub imports: Vec<Import>,
    /// The rules, in the order of the file. A body chained to a rule (`p { a } { b }`) is a rule of its own.
    pub rules: Vec<Rule>,
    /// The metadata blocks, in the order of the file.
    pub annotations: Vec<Annotation>,
    /// What is wrong with metadata blocks; an error only where metadata is used.
    pub annotation_errors: Vec<Error>,
    /// The comments, in the order of the file, metadata blocks among them.
    pub comments: Vec<Comment>,
}

/// `package a.b["c"]`.
#[derive(Clone, Debug)]
pub struct Package {
    /// From the keyword to the end of the path.
    pub span: Span,
    /// The elements without the leading `data`.
    pub path: Vec<Name>,
}

/// `import data.a.b as c`.
#[derive(Clone, Debug)]
pub struct Import {
    /// From the keyword to the end of the path or the alias.
    pub span: Span,
    /// The elements, `data`, `input`, `rego` or `future` first.
    pub path: Vec<Name>,
    /// The name after `as`.
    pub alias: Option<Name>,
}

impl Import {
    /// The name the import binds: the alias or the last element of the path.
    pub fn name(&self) -> Option<&Name> {
        self.alias.as_ref().or_else(|| self.path.last())
    }

    /// Whether the import names `data` or `input`, so that it binds a name.
    pub fn binds(&self) -> bool {
        self.path.first().is_some_and(|n| matches!(&*n.text, "data" | "input"))
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// From the head (or `default`) to the end of the last body.
    pub span: Span,
    /// Whether the rule is a default: `default p := 1`, `default f(_) := 1`.
    pub default: bool,
    /// The head.
    pub head: Head,
    /// The body; absent if the rule has none, which is the same as `true`.
    pub body: Option<Body>,
    /// Whether `if` stands before the body.
    pub has_if: bool,
    /// Whether the rule is a further body of the rule before it; its head is a copy.
    pub chained: bool,
    /// The `else` branches, in order.
    pub otherwise: Vec<Else>,
}

/// `else := value if { body }`.
#[derive(Clone, Debug)]
pub struct Else {
    /// From the keyword to the end of the body.
    pub span: Span,
    /// The value; absent means `true`.
    pub value: Option<Term>,
    /// Whether the value is written with `:=`.
    pub assign: bool,
    /// Whether `if` stands before the body.
    pub has_if: bool,
    /// The body; absent means `true`.
    pub body: Option<Body>,
}

/// The head of a rule.
#[derive(Clone, Debug)]
pub struct Head {
    /// From the name to the end of the value.
    pub span: Span,
    /// The name, the first element of the reference.
    pub name: Name,
    /// The further elements: of `a.b[x]`, `b` and `x`. A partial set's element is not among them.
    pub path: Vec<RefPart>,
    /// What the rule defines.
    pub kind: HeadKind,
    /// Whether the value is written with `:=`.
    pub assign: bool,
}

/// What a rule defines at the head's reference.
#[derive(Clone, Debug)]
pub enum HeadKind {
    /// One value: `p`, `p := 1`, `p[x] := 1`, `p[x] if {…}`, `a.b.c := 1`. An absent value means `true`.
    Value(Option<Term>),
    /// An element of a set: `p contains x`, and v0's `p[x] {…}`.
    Set {
        /// The element.
        element: Term,
        /// Whether it is written with `contains`.
        contains: bool,
    },
    /// A function: `f(x)`, `f(x) := 1`. An absent value means `true`.
    Function {
        /// The parameters, each any term.
        parameters: Vec<Term>,
        /// The value.
        value: Option<Term>,
    },
}

/// A comment.
#[derive(Clone, Debug)]
pub struct Comment {
    /// From `#` to the end of the line.
    pub span: Span,
    /// The text after `#`.
    pub text: Arc<str>,
}

/// A metadata block.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// From the first `#` to the end of the last comment.
    pub span: Span,
    /// What the block is about.
    pub scope: Scope,
    /// Whether the block marks an entrypoint.
    pub entrypoint: bool,
    /// What it stands on.
    pub target: Target,
    /// The block as `rego.metadata` shows it.
    pub value: Value,
}

/// The scope of a metadata block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The rule that follows.
    Rule,
    /// Every rule of that name in the package.
    Document,
    /// The package.
    Package,
    /// The package and those below it.
    Subpackages,
}

/// What a metadata block stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The package of the module.
    Package,
    /// The rule of this index in the module.
    Rule(usize),
}

impl Head {
    /// The value of a complete rule, an entry or a function, if it is written.
    pub fn value(&self) -> Option<&Term> {
        match &self.kind {
            HeadKind::Value(value) | HeadKind::Function { value, .. } => value.as_ref(),
            HeadKind::Set { .. } => None,
        }
    }

    /// The parameters of a function.
    pub fn parameters(&self) -> Option<&[Term]> {
        match &self.kind {
            HeadKind::Function { parameters, .. } => Some(parameters),
            _ => None,
        }
    }
}
