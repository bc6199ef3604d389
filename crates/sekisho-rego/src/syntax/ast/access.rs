//! Heights, names and values of terms.

use std::sync::Arc;

use super::node::{Body, Expr, ExprKind, InfixOp, Span, TemplatePart, Term, TermKind};

impl InfixOp {
    /// The operator as written.
    pub fn symbol(self) -> &'static str {
        match self {
            InfixOp::Equal => "==",
            InfixOp::NotEqual => "!=",
            InfixOp::Less => "<",
            InfixOp::LessEqual => "<=",
            InfixOp::Greater => ">",
            InfixOp::GreaterEqual => ">=",
            InfixOp::Union => "|",
            InfixOp::Intersection => "&",
            InfixOp::Add => "+",
            InfixOp::Subtract => "-",
            InfixOp::Multiply => "*",
            InfixOp::Divide => "/",
            InfixOp::Remainder => "%",
        }
    }

    /// The built-in function the operator stands for.
    pub fn builtin(self) -> &'static str {
        match self {
            InfixOp::Equal => "equal",
            InfixOp::NotEqual => "neq",
            InfixOp::Less => "lt",
            InfixOp::LessEqual => "lte",
            InfixOp::Greater => "gt",
            InfixOp::GreaterEqual => "gte",
            InfixOp::Union => "or",
            InfixOp::Intersection => "and",
            InfixOp::Add => "plus",
            InfixOp::Subtract => "minus",
            InfixOp::Multiply => "mul",
            InfixOp::Divide => "div",
            InfixOp::Remainder => "rem",
        }
    }

    /// How tightly the operator binds: 1 for comparisons to 5 for products.
    pub fn precedence(self) -> u8 {
        match self {
            InfixOp::Equal
            | InfixOp::NotEqual
            | InfixOp::Less
            | InfixOp::LessEqual
            | InfixOp::Greater
            | InfixOp::GreaterEqual => 1,
            InfixOp::Union => 2,
            InfixOp::Intersection => 3,
            InfixOp::Add | InfixOp::Subtract => 4,
            InfixOp::Multiply | InfixOp::Divide | InfixOp::Remainder => 5,
        }
    }
}

impl Term {
    /// A term without parentheses.
    pub fn new(span: Span, kind: TermKind) -> Self {
        let height = kind.parts_height().saturating_add(1);
        Self { span, parens: false, height, kind }
    }

    /// 1 for a leaf, else one more than the highest part.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// The name, if the term is a variable.
    pub fn as_var(&self) -> Option<&Arc<str>> {
        match &self.kind {
            TermKind::Var(name) => Some(name),
            _ => None,
        }
    }

    /// The value, if the term is a string.
    pub fn as_str(&self) -> Option<&Arc<str>> {
        match &self.kind {
            TermKind::String { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The elements of a variable, or of a reference that starts at a variable and goes on by strings only:
    /// `data.a["b"]` gives `data`, `a`, `b`.
    pub fn static_path(&self) -> Option<Vec<Arc<str>>> {
        match &self.kind {
            TermKind::Var(name) => Some(vec![name.clone()]),
            TermKind::Ref { head, path } => {
                let mut names = vec![head.as_var()?.clone()];
                for part in path {
                    names.push(part.term.as_str()?.clone());
                }
                Some(names)
            }
            _ => None,
        }
    }

    /// [`Self::static_path`] joined by dots: the name of a function, as in `time.now_ns`.
    pub fn dotted(&self) -> Option<String> {
        self.static_path().map(|names| names.join("."))
    }
}

fn highest<'a>(terms: impl IntoIterator<Item = &'a Term>) -> u16 {
    terms.into_iter().map(Term::height).max().unwrap_or(0)
}

impl TermKind {
    /// The name of the kind, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            TermKind::Null => "null",
            TermKind::Bool(_) => "boolean",
            TermKind::Number(_) => "number",
            TermKind::String { .. } => "string",
            TermKind::Template { .. } => "templatestring",
            TermKind::Var(_) | TermKind::Wildcard(_) => "var",
            TermKind::Ref { .. } => "ref",
            TermKind::Array(_) => "array",
            TermKind::Object(_) => "object",
            TermKind::Set(_) => "set",
            TermKind::ArrayComprehension { .. } => "arraycomprehension",
            TermKind::SetComprehension { .. } => "setcomprehension",
            TermKind::ObjectComprehension { .. } => "objectcomprehension",
            TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. } | TermKind::Minus(_) => "call",
        }
    }

    fn parts_height(&self) -> u16 {
        match self {
            TermKind::Template { parts, .. } => parts
                .iter()
                .map(|part| match part {
                    TemplatePart::Text(_) => 0,
                    TemplatePart::Expr(expr) => expr.height(),
                })
                .max()
                .unwrap_or(0),
            TermKind::Ref { head, path } => head.height().max(highest(path.iter().map(|part| &part.term))),
            TermKind::Array(terms) | TermKind::Set(terms) => highest(terms),
            TermKind::Object(pairs) => highest(pairs.iter().flat_map(|(key, value)| [key, value])),
            TermKind::ArrayComprehension { head, body } | TermKind::SetComprehension { head, body } => {
                head.height().max(body.height())
            }
            TermKind::ObjectComprehension { key, value, body } => key.height().max(value.height()).max(body.height()),
            TermKind::Call { function, arguments } => function.height().max(highest(arguments)),
            TermKind::Infix { left, right, .. } => left.height().max(right.height()),
            TermKind::In { key, value, collection } => {
                highest(key.as_deref()).max(value.height()).max(collection.height())
            }
            TermKind::Minus(term) => term.height(),
            TermKind::Null
            | TermKind::Bool(_)
            | TermKind::Number(_)
            | TermKind::String { .. }
            | TermKind::Var(_)
            | TermKind::Wildcard(_) => 0,
        }
    }
}

impl Body {
    /// The height of the highest expression.
    pub fn height(&self) -> u16 {
        self.exprs.iter().map(Expr::height).max().unwrap_or(0)
    }
}

impl Expr {
    /// One more than the highest part.
    pub fn height(&self) -> u16 {
        let own = match &self.kind {
            ExprKind::Term(term) => term.height(),
            ExprKind::Assign(left, right) | ExprKind::Unify(left, right) => left.height().max(right.height()),
            ExprKind::Some(names) => highest(names),
            ExprKind::SomeIn { key, value, collection } => {
                highest(key.as_deref()).max(value.height()).max(collection.height())
            }
            ExprKind::Every { key, value, domain, body } => {
                highest(key.as_deref()).max(value.height()).max(domain.height()).max(body.height())
            }
            ExprKind::Not(body) => body.height(),
            ExprKind::And(left, right) | ExprKind::Or(left, right) => left.height().max(right.height()),
        };
        own.max(highest(self.with.iter().flat_map(|with| [&with.target, &with.value]))).saturating_add(1)
    }
}
