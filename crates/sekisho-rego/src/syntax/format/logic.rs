//! `not` with a body, `and` and `or`.

use super::super::ast::{Body, Expr, ExprKind};
use super::writer::Writer;

impl Writer<'_> {
    /// `not x` or `not { x; y }`.
    pub(super) fn negation(&mut self, expr: &Expr, body: &Body) {
        self.token("not ", expr.span.line);
        match body.exprs.as_slice() {
            [inner] if !body.braces => self.group(inner, is_logical(inner) || is_negation(inner)),
            _ => self.braced(body, true),
        }
    }

    /// `left and right`; what is on a line of its own in the source does so indented.
    pub(super) fn logical(&mut self, left: &Body, word: &str, right: &Body) {
        self.operand(left, word, false);
        self.write(" ");
        self.write(word);
        let end = self.at_line;
        if right.span.line > end {
            self.end_line();
            self.deeper();
            self.comments_before(right.span.line);
            self.operand(right, word, true);
            self.shallower();
        } else {
            self.write(" ");
            self.operand(right, word, true);
        }
    }

    fn operand(&mut self, body: &Body, word: &str, right: bool) {
        match body.exprs.as_slice() {
            [inner] if !body.braces => {
                let parens = match &inner.kind {
                    ExprKind::Or(..) => word == "and" || right,
                    ExprKind::And(..) => word == "and" && right,
                    _ => false,
                };
                let value = !is_logical(inner) && !is_negation(inner);
                let brace = value && starts_with_brace(self.source(inner.span));
                self.group(inner, parens || !inner.with.is_empty() || brace);
            }
            _ => self.braced(body, true),
        }
    }

    fn group(&mut self, expr: &Expr, parens: bool) {
        if parens {
            self.token("(", expr.span.line);
        }
        self.expr(expr);
        if parens {
            self.write(")");
        }
    }
}

fn is_logical(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::And(..) | ExprKind::Or(..))
}

fn is_negation(expr: &Expr) -> bool {
    expr.negated || matches!(expr.kind, ExprKind::Not(_))
}

/// Whether a text would be read as a body: it starts with a brace, in parentheses or not.
fn starts_with_brace(text: &str) -> bool {
    text.trim_start_matches(|c: char| c == '(' || c.is_whitespace()).starts_with('{')
}
