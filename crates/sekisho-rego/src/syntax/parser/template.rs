//! Template strings.

use std::sync::Arc;

use super::super::ast::{Expr, ExprKind, Span, TemplatePart, Term, TermKind, Version};
use super::super::strings::{unescape, unescape_raw_template};
use super::super::token::Kind;
use super::{Parsed, Parser};

impl Parser<'_> {
    pub(super) fn template(&mut self) -> Parsed<Term> {
        let start = self.span();
        if self.version == Version::V0 {
            return self.error(start, "template strings are not supported by current capabilities");
        }
        let mut parts = Vec::new();
        let mut opening = 2;
        loop {
            let kind = self.kind();
            let raw = matches!(kind, Kind::RawTemplatePart | Kind::RawTemplateEnd);
            if !raw && !matches!(kind, Kind::TemplatePart | Kind::TemplateEnd) {
                return self.unexpected("expected template-string part");
            }
            let span = self.bump();
            let text = self.template_text(span, opening, raw)?;
            if !text.is_empty() {
                parts.push(TemplatePart::Text(Arc::from(text)));
            }
            if matches!(kind, Kind::TemplateEnd | Kind::RawTemplateEnd) {
                return self.node(self.since(start), TermKind::Template { parts, raw });
            }
            let expr = self.literal()?;
            self.may_interpolate(&expr)?;
            parts.push(TemplatePart::Expr(Box::new(expr)));
            if !self.is(Kind::RBrace) {
                if self.is(Kind::Illegal) {
                    return self.unexpected("");
                }
                return self.error(self.span(), "expected } to end template string expression");
            }
            self.bump();
            opening = 0;
        }
    }

    /// The value of a text token, without the signs around it.
    fn template_text(&self, span: Span, opening: usize, raw: bool) -> Parsed<String> {
        let whole = self.text(span);
        let inner = whole.get(opening..whole.len().saturating_sub(1)).unwrap_or("");
        if raw {
            return Ok(unescape_raw_template(inner));
        }
        match unescape(inner, true) {
            Some(value) => Ok(value.into_owned()),
            None => self.error(span, format!("illegal template-string part: {whole}")),
        }
    }

    fn may_interpolate(&self, expr: &Expr) -> Parsed<()> {
        let message = match &expr.kind {
            _ if expr.negated => "unexpected negation ('not') in template-string expression",
            ExprKind::Unify(..) => "unexpected unification ('=') in template-string expression",
            ExprKind::Assign(..) => "unexpected assignment (':=') in template-string expression",
            ExprKind::Every { .. } => "unexpected 'every' in template-string expression",
            ExprKind::Some(_) | ExprKind::SomeIn { .. } => "unexpected 'some' in template-string expression",
            ExprKind::Not(_) => "unexpected negation ('not') in template-string expression",
            ExprKind::And(..) => "unexpected 'and' in template-string expression",
            ExprKind::Or(..) => "unexpected 'or' in template-string expression",
            ExprKind::Term(_) => return Ok(()),
        };
        self.error(expr.span, message)
    }
}
