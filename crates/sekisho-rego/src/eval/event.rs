//! What an evaluation does, event by event.

use crate::syntax::ast::Span;
use crate::value::Value;

/// What happens, named as OPA names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The evaluation of a rule, a query, or a body within one begins.
    Enter,
    /// A step of an expression is evaluated.
    Eval,
    /// An expression or a body is tried again for a further solution.
    Redo,
    /// A rule, a query or a body has a solution.
    Exit,
    /// A step of an expression does not hold.
    Fail,
    /// Two terms are equal, or a variable gets a value.
    Unify,
    /// The rules of a document that can hold were looked up.
    Index,
    /// The policy called `trace`.
    Note,
    /// A rule gives an element that its set has already.
    Duplicate,
}

impl Op {
    /// OPA's name of the event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Op::Enter => "Enter",
            Op::Eval => "Eval",
            Op::Redo => "Redo",
            Op::Exit => "Exit",
            Op::Fail => "Fail",
            Op::Unify => "Unify",
            Op::Index => "Index",
            Op::Note => "Note",
            Op::Duplicate => "Duplicate",
        }
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'e> {
    /// A document that rules define: `data.a.b`.
    Rule(&'e str),
    /// A query, or a body within a rule.
    Body,
    /// An expression.
    Expr {
        /// The number of the step within its body. One expression is one step or several.
        step: usize,
        /// Whether the step before it belongs to the same expression.
        further: bool,
    },
}

/// One event. Depths and numbers of queries begin at 0 and 1.
#[derive(Debug)]
pub struct Event<'e> {
    /// What happens.
    pub op: Op,
    /// What it is about.
    pub node: Node<'e>,
    /// The module by its number in the policy; none for the query.
    pub module: Option<usize>,
    /// The place in the module or the query.
    pub span: Span,
    /// How many bodies are open around it.
    pub depth: u32,
    /// The number of the body that is evaluated; each has its own.
    pub query: u64,
    /// The number of the body around it; 0 for none.
    pub parent: u64,
    /// What the policy or the engine says of it; empty for nothing.
    pub message: &'e str,
    /// The values that were compared, bound or given to the function, if the listener wants them.
    pub values: &'e [Value],
}

/// Listens to an evaluation.
pub trait Tracer {
    /// Called for each event, in their order.
    fn event(&mut self, event: &Event<'_>);

    /// Whether [`Event::values`] is wanted, and [`Op::Unify`] with it; both cost time.
    fn wants_values(&self) -> bool {
        false
    }
}

/// What a body belongs to.
pub(super) struct Frame {
    pub(super) rule: Option<String>,
    pub(super) module: u32,
    pub(super) span: Span,
    pub(super) query: u64,
    pub(super) parent: u64,
    pub(super) depth: u32,
}

/// The listener, and where the evaluation is.
pub(super) struct Tracing<'a> {
    pub(super) tracer: &'a mut dyn Tracer,
    pub(super) queries: u64,
    pub(super) current: Frame,
    /// What the next body belongs to, if that is a rule.
    pub(super) next: Option<(String, Span)>,
    /// The place of the step that is evaluated.
    pub(super) place: Span,
}

impl<'a> Tracing<'a> {
    pub(super) fn new(tracer: &'a mut dyn Tracer, span: Span) -> Tracing<'a> {
        let current = Frame { rule: None, module: u32::MAX, span, query: 0, parent: 0, depth: 0 };
        Tracing { tracer, queries: 0, current, next: None, place: span }
    }

    /// An event of the body that is evaluated.
    pub(super) fn of_body(&mut self, op: Op, depth: u32) {
        let Frame { rule, module, span, query, parent, .. } = &self.current;
        let node = rule.as_deref().map_or(Node::Body, Node::Rule);
        let (span, query, parent) = (*span, *query, *parent);
        let module = number(*module);
        self.tracer.event(&Event { op, node, module, span, depth, query, parent, message: "", values: &[] });
    }
}

pub(super) fn number(module: u32) -> Option<usize> {
    (module != u32::MAX).then_some(module as usize)
}
