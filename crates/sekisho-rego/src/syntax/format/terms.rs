//! Terms.

use super::super::ast::{Body, InfixOp, RefPart, Span, Term, TermKind};
use super::super::token::Kind;
use super::imports::may_follow_dot;
use super::writer::Writer;

impl Writer<'_> {
    /// A term that is an expression of its own: `k, v in xs` needs no parentheses.
    pub(super) fn whole_term(&mut self, term: &Term) {
        match &term.kind {
            TermKind::In { key, value, collection } => self.membership(key.as_deref(), value, collection),
            TermKind::Infix { op, op_span, left, right } => {
                self.term(left, !binds(left, op.precedence()));
                self.write(" ");
                self.token(op.symbol(), op_span.line.min(right.span.line));
                self.write(" ");
                self.term(right, !binds(right, op.precedence() + 1));
            }
            _ => self.term(term, false),
        }
    }

    /// `k, v in xs`.
    pub(super) fn membership(&mut self, key: Option<&Term>, value: &Term, collection: &Term) {
        if let Some(key) = key {
            self.term(key, true);
            self.write(", ");
        }
        self.term(value, true);
        self.write(" in ");
        self.term(collection, true);
    }

    /// A term; as an operand, operators in it stand in parentheses.
    pub(super) fn term(&mut self, term: &Term, operand: bool) {
        match &term.kind {
            TermKind::Ref { head, path } => {
                self.term(head, true);
                path.iter().for_each(|part| self.part(part));
            }
            TermKind::Array(terms) => self.bracketed("[", terms, term.span, "]"),
            TermKind::Set(terms) if terms.is_empty() => self.token("set()", term.span.line),
            TermKind::Set(terms) => self.bracketed("{", terms, term.span, "}"),
            TermKind::Object(pairs) => self.object(pairs, term.span),
            TermKind::ArrayComprehension { head, body } => self.comprehension("[", None, head, body, term.span, "]"),
            TermKind::SetComprehension { head, body } => self.comprehension("{", None, head, body, term.span, "}"),
            TermKind::ObjectComprehension { key, value, body } => {
                self.comprehension("{", Some(key), value, body, term.span, "}");
            }
            TermKind::Call { function, arguments } => {
                self.term(function, false);
                self.write("(");
                let close = self.end_line_of(inner(term));
                let open = arguments.first().map_or(close, |first| first.span.line);
                self.list(arguments, open, close);
                self.close(true, inner(term));
            }
            TermKind::Infix { op, op_span, left, right } => {
                self.open(operand, inner(term));
                self.term(left, true);
                self.write(" ");
                self.token(op.symbol(), op_span.line.min(right.span.line));
                self.write(" ");
                self.term(right, true);
                self.close(operand, term.span);
            }
            TermKind::In { key, value, collection } => {
                let parens = operand || key.is_some();
                self.open(parens, inner(term));
                self.membership(key.as_deref(), value, collection);
                self.close(parens, term.span);
            }
            TermKind::Minus(inner) => {
                self.token("-", term.span.line);
                self.term(inner, true);
            }
            TermKind::Null | TermKind::Bool(_) | TermKind::Number(_) | TermKind::Var(_) | TermKind::Wildcard(_) => {
                let text = self.source(term.span);
                let bare = text.trim_start_matches('(').trim_end_matches(')').trim();
                let compact: String = bare.split_whitespace().collect();
                self.token(&compact, term.span.line);
            }
            TermKind::String { .. } | TermKind::Template { .. } => self.literal(term),
        }
    }

    fn open(&mut self, parens: bool, span: Span) {
        if parens {
            self.token("(", span.line);
        }
    }

    fn close(&mut self, parens: bool, span: Span) {
        if parens {
            let line = self.end_line_of(span);
            let line = if self.comment_above(line).is_some() { self.at_line } else { line };
            self.token(")", line);
        }
    }

    /// A string or template as it is written, without parentheses around it.
    fn literal(&mut self, term: &Term) {
        let mut span = term.span;
        while let Some(inside) = self.source(span).strip_prefix('(') {
            let start = inside.trim_start();
            let skipped = self.source(span).len() - start.len();
            let end = start.strip_suffix(')').unwrap_or(start).trim_end().len();
            let begin = span.start + u32::try_from(skipped).unwrap_or(0);
            span = Span { start: begin, end: begin + u32::try_from(end).unwrap_or(0), ..span };
        }
        let line = self.end_line_of(span);
        self.token(self.source(span), span.line);
        self.at_line = self.at_line.max(line);
    }

    /// `.a` or `[b]`.
    pub(super) fn part(&mut self, part: &RefPart) {
        let dot = part.dot || part.term.as_str().is_some_and(|value| may_follow_dot(value));
        self.part_with(part, dot);
    }

    /// The same as it is written.
    pub(super) fn written_part(&mut self, part: &RefPart) {
        self.part_with(part, part.dot);
    }

    fn part_with(&mut self, part: &RefPart, dot: bool) {
        match &part.term.kind {
            TermKind::String { value, .. } if dot => {
                self.write(".");
                self.write(value);
            }
            _ => {
                self.write("[");
                self.term(&part.term, false);
                self.write("]");
            }
        }
    }

    fn bracketed(&mut self, open: &str, terms: &[Term], span: Span, close: &str) {
        self.token(open, span.line);
        let line = self.end_line_of(span);
        self.list_with(terms, span.line, line, true);
        self.token(close, line);
    }

    /// Terms between an opening sign on the line `open` and a closing one on the line `close`.
    pub(super) fn list(&mut self, terms: &[Term], open: u32, close: u32) {
        self.list_with(terms, open, close, false);
    }

    fn list_with(&mut self, terms: &[Term], open: u32, close: u32, unions: bool) {
        let lines: Vec<u32> = terms.iter().map(|term| term.span.line).collect();
        self.items(&lines, open, close, &mut |writer, at| {
            if let Some(term) = terms.get(at) {
                let union = matches!(term.kind, TermKind::Infix { op: InfixOp::Union, .. });
                writer.term(term, union && (unions || term.parens));
            }
        });
    }

    fn object(&mut self, pairs: &[(Term, Term)], span: Span) {
        self.token("{", span.line);
        let lines: Vec<u32> = pairs.iter().map(|(key, _)| key.span.line).collect();
        let close = self.end_line_of(span);
        self.items(&lines, span.line, close, &mut |writer, at| {
            if let Some((key, value)) = pairs.get(at) {
                let union = |term: &Term| matches!(term.kind, TermKind::Infix { op: InfixOp::Union, .. });
                writer.term(key, union(key));
                writer.write(": ");
                writer.term(value, union(value));
            }
        });
        self.token("}", close);
    }

    /// Items that start on `lines`: those of one line stay on one line.
    fn items(&mut self, lines: &[u32], open: u32, close: u32, item: &mut dyn FnMut(&mut Self, usize)) {
        let Some(first) = lines.first() else { return };
        let several = lines.iter().any(|line| line > first) || *first > open;
        if !several {
            for at in 0..lines.len() {
                if at > 0 {
                    self.write(", ");
                }
                item(self, at);
            }
            return;
        }
        self.at_line = self.at_line.max(open);
        if *first == open {
            // A comment on this line belongs to the item on it.
            self.line_without_comment();
        } else {
            self.end_line();
        }
        self.deeper();
        let mut previous = None;
        for (at, line) in lines.iter().enumerate() {
            match previous {
                Some(previous) if *line > previous => {
                    self.write(",");
                    self.end_line();
                    self.comments_before_end(*line);
                }
                Some(_) => self.write(", "),
                None => self.comments_before_end(*line),
            }
            item(self, at);
            previous = Some(*line);
        }
        self.write(",");
        self.end_line();
        self.comments_before_end(close);
        self.shallower();
    }

    fn comprehension(&mut self, open: &str, key: Option<&Term>, value: &Term, body: &Body, span: Span, end: &str) {
        self.token(open, span.line);
        let broken = key.is_none() && value.span.line > span.line;
        if broken {
            self.end_line();
        }
        let union = |term: &Term| {
            let call = matches!(term.kind, TermKind::Infix { .. } | TermKind::In { .. });
            call && (term.parens || matches!(term.kind, TermKind::Infix { op: InfixOp::Union, .. }))
        };
        if let Some(key) = key {
            self.term(key, matches!(key.kind, TermKind::Infix { op: InfixOp::Union, .. }));
            self.write(": ");
        }
        self.term(value, union(value));
        let bar = self.line_of_next(Kind::Or, value.span.end);
        self.write(" ");
        self.token("|", bar);
        let close = self.end_line_of(span);
        let body_line = body.exprs.first().map_or(bar, |expr| expr.span.line);
        let lines = body.exprs.iter().zip(body.exprs.iter().skip(1));
        let several = lines.into_iter().any(|(a, b)| b.span.line > a.span.line)
            || body_line > if key.is_some() { span.line } else { value.span.line };
        if several {
            self.end_line();
            self.deeper();
            self.exprs(body, false);
            self.comments_before_end(close);
            self.shallower();
            self.token(end, close);
        } else {
            self.write(" ");
            self.one_line(body);
            let line = if self.comment_above(close).is_some() { self.at_line } else { close };
            self.token(end, line);
        }
    }
}

/// Whether an operand binds at least as tightly as `least`, so that it needs no parentheses.
fn binds(term: &Term, least: u8) -> bool {
    match &term.kind {
        TermKind::Infix { op, .. } => op.precedence() >= least,
        TermKind::In { .. } => false,
        _ => true,
    }
}

/// The span of a term without the parentheses around it.
fn inner(term: &Term) -> Span {
    if !term.parens {
        return term.span;
    }
    Span { end: term.span.end.saturating_sub(1), ..term.span }
}
