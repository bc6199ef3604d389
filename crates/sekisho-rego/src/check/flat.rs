//! Bodies as flat steps: calls are taken out of terms, names are resolved, variables are numbers.
//!
//! `x := f(g(y))` is two steps: `v1 = g(y)` and `x = f(v1)`. Safety, recursion and types are checked on this form.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::syntax::ast::Span;

/// The number of a variable.
pub(crate) type VarId = u32;

/// Variables as a set.
pub(crate) type Vars = BTreeSet<VarId>;

/// A term without calls.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Null,
    Bool(bool),
    Number(Arc<str>),
    String(Arc<str>),
    Var(VarId),
    /// A reference; its path may be empty for `data` and `input`.
    Ref(Base, Vec<Item>),
    Array(Vec<Item>),
    Object(Vec<(Item, Item)>),
    Set(Vec<Item>),
    Comprehension(Box<Comprehension>),
    /// A built-in function named in a `with` modifier.
    Function(&'static str),
}

/// What a reference starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Data,
    Input,
    Var(VarId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComprehensionKind {
    Array,
    Set,
    Object,
}

#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub(crate) kind: ComprehensionKind,
    /// The head: one term, or the key and the value of an object.
    pub(crate) terms: Vec<Item>,
    pub(crate) body: Vec<Step>,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// A built-in function by name.
    Builtin(&'static str),
    /// A rule by its path without `data`.
    Rule(Vec<Arc<str>>),
    /// No function of that name exists.
    Unknown(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Modifier {
    pub(crate) target: Item,
    pub(crate) target_span: Span,
    pub(crate) value: Item,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) span: Span,
    pub(crate) negated: bool,
    /// Whether the step is a nested call or term taken out of an expression.
    pub(crate) generated: bool,
    pub(crate) with: Vec<Modifier>,
    pub(crate) kind: StepKind,
}

#[derive(Clone, Debug)]
pub(crate) enum StepKind {
    Term(Item),
    Equal {
        left: Item,
        right: Item,
        /// Whether it is written `:=`.
        assigned: bool,
    },
    /// The last argument may be the result.
    Call {
        callee: Callee,
        arguments: Vec<Item>,
    },
    Every {
        key: Option<VarId>,
        value: VarId,
        domain: Item,
        body: Vec<Step>,
    },
    Not {
        body: Vec<Step>,
        braces: bool,
    },
    Logical {
        left: Vec<Step>,
        left_braces: bool,
        right: Vec<Step>,
        right_braces: bool,
    },
}

impl Step {
    pub(crate) fn new(span: Span, kind: StepKind) -> Self {
        Self { span, negated: false, generated: false, with: Vec::new(), kind }
    }

    /// A step taken out of an expression.
    pub(crate) fn generated(span: Span, kind: StepKind) -> Self {
        Self { generated: true, ..Self::new(span, kind) }
    }
}

/// The variables of all modules.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    /// The name in the text; none for a generated variable.
    names: Vec<Option<Arc<str>>>,
}

impl Variables {
    pub(crate) fn named(&mut self, name: &Arc<str>) -> VarId {
        self.add(Some(name.clone()))
    }

    pub(crate) fn generated(&mut self) -> VarId {
        self.add(None)
    }

    fn add(&mut self, name: Option<Arc<str>>) -> VarId {
        self.names.push(name);
        u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn name(&self, id: VarId) -> Option<&Arc<str>> {
        self.names.get(id as usize).and_then(Option::as_ref)
    }
}

/// A rule or an `else` branch in flat form.
#[derive(Debug)]
pub(crate) struct FlatRule {
    /// The module's index.
    pub(crate) module: usize,
    /// The rule's index in the module.
    pub(crate) rule: usize,
    /// Which `else` branch; 0 is the rule itself.
    pub(crate) branch: usize,
    pub(crate) span: Span,
    /// The path inside of the package.
    pub(crate) name_path: Vec<Item>,
    /// The full path without `data`: strings and other constants, variables.
    pub(crate) path: Vec<Item>,
    pub(crate) kind: FlatKind,
    pub(crate) default: bool,
    /// The variables of the head with the places they stand at.
    pub(crate) head_vars: Vec<(VarId, Span)>,
    pub(crate) body: Vec<Step>,
}

#[derive(Debug)]
pub(crate) enum FlatKind {
    Value(Item),
    Set(Item),
    Function { parameters: Vec<Item>, value: Item },
}

impl FlatRule {
    pub(crate) fn arity(&self) -> usize {
        match &self.kind {
            FlatKind::Function { parameters, .. } => parameters.len(),
            _ => 0,
        }
    }

    pub(crate) fn is_function(&self) -> bool {
        matches!(self.kind, FlatKind::Function { .. })
    }

    /// The strings the path starts with.
    pub(crate) fn ground_prefix(&self) -> Vec<&Item> {
        self.path.iter().take_while(|item| !matches!(item, Item::Var(_))).collect()
    }

    pub(crate) fn is_ground(&self) -> bool {
        !self.path.iter().any(|item| matches!(item, Item::Var(_)))
    }
}
