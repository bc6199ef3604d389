//! Places, terms and expressions.

use std::sync::Arc;

/// The greatest height of a term; the parser refuses a higher one.
pub const MAX_HEIGHT: u16 = 256;

/// A place in a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
    /// The line of the first byte, from 1.
    pub line: u32,
    /// The column of the first character, from 1, in characters.
    pub column: u32,
}

impl Span {
    /// A span that starts where `self` does and ends where `other` does.
    pub fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.start), ..self }
    }

    /// The text of the span inside `source`; empty if the span is not a range of it.
    pub fn text(self, source: &str) -> &str {
        source.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

/// The text of a module and its name.
#[derive(Debug)]
pub struct Source {
    /// The file's name, as it appears in errors.
    pub file: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

/// A name with its place.
#[derive(Clone, Debug)]
pub struct Name {
    /// Where the name stands.
    pub span: Span,
    /// The name; for a quoted path element, the string's value.
    pub text: Arc<str>,
}

/// Expressions which must all hold.
#[derive(Clone, Debug)]
pub struct Body {
    /// From the opening brace to the closing one, or the only expression.
    pub span: Span,
    /// Whether braces are written around it.
    pub braces: bool,
    /// The expressions; at least one.
    pub exprs: Vec<Expr>,
}

/// One expression of a body.
#[derive(Clone, Debug)]
pub struct Expr {
    /// From the first token (`not` included) to the end of the last modifier.
    pub span: Span,
    /// Whether `not` stands before it. Nested calls of such an expression are evaluated before it, outside of the
    /// negation: in `not f(g(x))` an undefined `g(x)` leaves the body undefined. See [`ExprKind::Not`] for the other.
    pub negated: bool,
    /// What is evaluated.
    pub kind: ExprKind,
    /// The `with` modifiers, in order.
    pub with: Vec<With>,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A term that must be defined and not false; calls, infix operators and membership among them.
    Term(Term),
    /// `left := right`; the left is a variable, or an array or object of such.
    Assign(Term, Term),
    /// `left = right`.
    Unify(Term, Term),
    /// `some x, y`; each a variable.
    Some(Vec<Term>),
    /// `some x in xs` and `some k, v in xs`; variables not bound outside of the rule are declared by it.
    SomeIn {
        /// The key, if two terms are given.
        key: Option<Box<Term>>,
        /// The element.
        value: Box<Term>,
        /// The collection.
        collection: Box<Term>,
    },
    /// `every k, v in xs { body }`.
    Every {
        /// The key's variable.
        key: Option<Box<Term>>,
        /// The element's variable.
        value: Box<Term>,
        /// The collection.
        domain: Box<Term>,
        /// What must hold for each.
        body: Box<Body>,
    },
    /// Negation of a body, after `import future.keywords.not` only: `not x` (no braces) and `not { x; y }`.
    Not(Body),
    /// `left and right`, after `import future.keywords.and` only.
    And(Body, Body),
    /// `left or right`, after `import future.keywords.or` only.
    Or(Body, Body),
}

/// `with target as value`.
#[derive(Clone, Debug)]
pub struct With {
    /// From the keyword to the end of the value.
    pub span: Span,
    /// What is replaced: a variable or a reference.
    pub target: Term,
    /// By what.
    pub value: Term,
}

/// A term.
#[derive(Clone, Debug)]
pub struct Term {
    /// Where the term stands.
    pub span: Span,
    /// Whether parentheses are written around it.
    pub parens: bool,
    /// 1 for a leaf, else one more than the highest part.
    pub(super) height: u16,
    /// What the term is.
    pub kind: TermKind,
}

/// The kinds of terms.
#[derive(Clone, Debug)]
pub enum TermKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written (`-1.50e3`), checked to be a JSON number.
    Number(Arc<str>),
    /// A string.
    String {
        /// The value, escapes resolved.
        value: Arc<str>,
        /// Whether it is written between backquotes.
        raw: bool,
    },
    /// `$"…{x}…"`.
    Template {
        /// Texts and expressions, in order; no text is empty.
        parts: Vec<TemplatePart>,
        /// Whether it is written between backquotes.
        raw: bool,
    },
    /// A variable, `input` and `data` among them.
    Var(Arc<str>),
    /// `_`; each has its own number within the module or query.
    Wildcard(u32),
    /// `head.b[c]`; at least one part. The head is a variable, a wildcard, an array, an object, a set, a comprehension
    /// or a call.
    Ref {
        /// What the reference starts at.
        head: Box<Term>,
        /// The parts, in order.
        path: Vec<RefPart>,
    },
    /// `[a, b]`.
    Array(Vec<Term>),
    /// `{a: b}`.
    Object(Vec<(Term, Term)>),
    /// `{a, b}` and `set()`.
    Set(Vec<Term>),
    /// `[head | body]`.
    ArrayComprehension {
        /// The element.
        head: Box<Term>,
        /// The body.
        body: Box<Body>,
    },
    /// `{head | body}`.
    SetComprehension {
        /// The element.
        head: Box<Term>,
        /// The body.
        body: Box<Body>,
    },
    /// `{key: value | body}`.
    ObjectComprehension {
        /// The key.
        key: Box<Term>,
        /// The value.
        value: Box<Term>,
        /// The body.
        body: Box<Body>,
    },
    /// `f(a, b)`; the function is a variable or a reference.
    Call {
        /// The function.
        function: Box<Term>,
        /// The arguments.
        arguments: Vec<Term>,
    },
    /// `a + b`.
    Infix {
        /// The operator.
        op: InfixOp,
        /// Where the operator stands.
        op_span: Span,
        /// The left operand.
        left: Box<Term>,
        /// The right operand.
        right: Box<Term>,
    },
    /// `x in xs` and `k, v in xs`.
    In {
        /// The key, if two terms are given.
        key: Option<Box<Term>>,
        /// The element.
        value: Box<Term>,
        /// The collection.
        collection: Box<Term>,
    },
    /// `-x` of a variable, reference or call: `minus(0, x)`.
    Minus(Box<Term>),
}

/// A part of a template string.
#[derive(Clone, Debug)]
pub enum TemplatePart {
    /// A text, escapes resolved.
    Text(Arc<str>),
    /// `{expr}`: its kind is `Term`, and it may have `with` modifiers.
    Expr(Box<Expr>),
}

/// An element of a reference after its head.
#[derive(Clone, Debug)]
pub struct RefPart {
    /// The term; a string if written with a dot.
    pub term: Term,
    /// Whether it is written `.x`, not `[x]`.
    pub dot: bool,
}

/// An infix operator that gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InfixOp {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `|`
    Union,
    /// `&`
    Intersection,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}
