//! The steps of a program.

use std::sync::Arc;

use super::shared::{NodeId, RuleSetId};
use super::table::Index;
use crate::builtins::Builtin;
use crate::syntax::ast::Span;
use crate::value::Value;

/// A slot of the frame of a rule.
pub(crate) type Slot = u32;

/// What can be computed from bound slots without failing.
#[derive(Debug)]
pub(crate) enum Operand {
    Const(Value),
    Slot(Slot),
    Array(Box<[Operand]>),
    Object(Box<[(Operand, Operand)]>),
    Set(Box<[Operand]>),
}

/// What a value is matched with; parts are matched from left to right.
#[derive(Debug)]
pub(crate) enum Pattern {
    Any,
    Bind(Slot),
    Equal(Operand),
    Array(Box<[Pattern]>),
    /// An object of exactly these keys.
    Object(Box<[(Operand, Pattern)]>),
}

/// Steps which all have to hold.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) steps: Box<[Step]>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) span: Span,
}

/// Where a reference starts.
#[derive(Debug)]
pub(crate) enum Base {
    Input,
    /// The base document of data, whatever rules say.
    Data,
    Value(Operand),
}

/// A key of a reference into the tree of rules.
#[derive(Debug)]
pub(crate) enum Key {
    Bound(Operand),
    Free(Pattern),
}

/// A comparison that has fixed meaning for all values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Callee {
    Builtin(&'static Builtin),
    Function(RuleSetId),
}

#[derive(Debug)]
pub(crate) enum StepKind {
    /// The value below a base at bound keys.
    Get {
        base: Base,
        keys: Box<[Operand]>,
        out: Slot,
    },
    /// Each key of a collection with its value.
    Each {
        collection: Operand,
        key: Pattern,
        value: Pattern,
    },
    /// The document a rule defines.
    Rule {
        set: RuleSetId,
        out: Slot,
    },
    /// The document of a node of the tree: rules and base document merged.
    Extent {
        node: NodeId,
        out: Slot,
    },
    /// A reference through the tree by keys that are not constant; `outs` are the slots it binds.
    Tree {
        node: NodeId,
        path: Box<[Key]>,
        out: Slot,
        outs: Box<[Slot]>,
    },
    /// A value matched with a pattern.
    Match {
        value: Operand,
        pattern: Pattern,
    },
    /// A value that is not false.
    Test {
        value: Operand,
    },
    Compare {
        op: Compare,
        left: Operand,
        right: Operand,
    },
    /// A call; without a pattern the result must not be false.
    Call {
        callee: Callee,
        arguments: Box<[Operand]>,
        result: Option<Pattern>,
    },
    /// Each path and value within a value.
    Traverse {
        value: Operand,
        result: Pattern,
    },
    /// `x in xs`, `k, v in xs`.
    Member {
        key: Option<Operand>,
        value: Operand,
        collection: Operand,
        result: Option<Pattern>,
    },
    Not {
        block: Block,
    },
    /// Both hold.
    And {
        left: Block,
        right: Block,
    },
    /// One of both holds.
    Or {
        left: Block,
        right: Block,
    },
    Every(Box<Every>),
    Collect(Box<Collect>),
    /// Steps under modifiers; `outs` are the slots they bind.
    With {
        mods: Box<[WithMod]>,
        block: Block,
        outs: Box<[Slot]>,
    },
    /// Never holds.
    Fail,
}

/// `every key, value in domain { block }`.
#[derive(Debug)]
pub(crate) struct Every {
    pub(crate) domain: Operand,
    pub(crate) key: Pattern,
    pub(crate) value: Pattern,
    pub(crate) block: Block,
}

/// A comprehension.
#[derive(Debug)]
pub(crate) struct Collect {
    pub(crate) kind: CollectKind,
    pub(crate) block: Block,
    pub(crate) value: Operand,
    pub(crate) out: Slot,
}

#[derive(Debug)]
pub(crate) enum CollectKind {
    Array,
    Set,
    Object { key: Operand },
}

#[derive(Debug)]
pub(crate) struct WithMod {
    pub(crate) target: Target,
    pub(crate) value: Mock,
}

/// What a modifier replaces.
#[derive(Debug)]
pub(crate) enum Target {
    Input(Arc<[Value]>),
    Data(Arc<[Value]>),
    Builtin(&'static Builtin),
    Function(RuleSetId),
}

/// By what a modifier replaces.
#[derive(Debug)]
pub(crate) enum Mock {
    Value(Operand),
    Callee(Callee),
}

/// A body and its value.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) block: Block,
    /// The keys below the rule set's path; for a set the last one is the element.
    pub(crate) path: Box<[Operand]>,
    pub(crate) value: Operand,
    pub(crate) span: Span,
}

/// One rule: a body, and bodies in order for where it does not hold.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) parameters: Box<[Pattern]>,
    /// Whether the rule's leaf is a set and `value` an element of it.
    pub(crate) element: bool,
    pub(crate) branches: Box<[Branch]>,
    pub(crate) slots: u32,
    pub(crate) module: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// One value.
    Complete,
    /// A set.
    Set,
    /// An object of values or of sets.
    Object,
    /// A function with so many parameters.
    Function(usize),
}

/// All rules of one document.
#[derive(Debug)]
pub(crate) struct RuleSet {
    pub(crate) path: Arc<[Value]>,
    pub(crate) kind: RuleKind,
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Option<Rule>,
    /// Whether all values are the same constant, so that the first one found is the result.
    pub(crate) constant: bool,
    pub(crate) index: Option<Index>,
}

/// A query: a body whose variables are the result.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) block: Block,
    pub(crate) span: Span,
    pub(crate) variables: Box<[(Arc<str>, Slot, bool)]>,
    pub(crate) slots: u32,
}
