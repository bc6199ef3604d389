//! Rules.

use super::super::ast::{Body, Else, Expr, ExprKind, Head, HeadKind, Rule, Span, Term, TermKind};
use super::super::token::Kind;
use super::head::{WrittenHead, is_ground};
use super::{Parsed, Parser};

impl Parser<'_> {
    /// A rule and the bodies chained to it.
    pub(super) fn rules(&mut self) -> Parsed<Vec<Rule>> {
        let start = self.span();
        let mut default = false;
        if self.is(Kind::Default) && !self.starts_reference() {
            self.bump();
            default = true;
        }
        let name = self.is(Kind::Ident) || self.kind().is_word() && self.starts_reference();
        if !name {
            if default {
                self.keyword_as_rule_name(true)?;
            }
            return self.unexpected("");
        }
        let head = self.head(default)?;
        if default {
            return self.default_rule(start, head);
        }
        let has_term = head.value.is_some() || head.contains.is_some();
        let has_if = self.is(Kind::If) && !(has_term && self.starts_reference());
        if has_if {
            self.bump();
            let head = head.decide(true, true, false);
            let body = self.if_body()?;
            return self.rest_of_rule(start, head, body, true);
        }
        if self.is(Kind::LBrace) {
            let head = head.decide(false, true, false);
            let body = self.braced_body()?;
            return self.rest_of_rule(start, head, body, false);
        }
        self.rule_without_body(start, head)
    }

    fn default_rule(&self, start: Span, head: WrittenHead) -> Parsed<Vec<Rule>> {
        let span = self.since(start);
        let Some(value) = &head.value else {
            return self.error(span, "illegal default rule (must have a value)");
        };
        if let Some(what) = not_constant(value) {
            return self.error(span, format!("illegal default rule (value cannot contain {what})"));
        }
        let mut names = Vec::new();
        for parameter in head.parameters.iter().flatten() {
            match &parameter.kind {
                TermKind::Wildcard(_) => {}
                TermKind::Var(name) if names.contains(&name) => {
                    let message = format!("illegal default rule (arguments cannot be repeated {name})");
                    return self.error(span, message);
                }
                TermKind::Var(name) => names.push(name),
                other => {
                    let what = other.name();
                    return self.error(span, format!("illegal default rule (arguments cannot contain {what})"));
                }
            }
        }
        let head = head.decide(false, false, true);
        Ok(vec![Rule { span, default: true, head, body: None, has_if: false, chained: false, otherwise: Vec::new() }])
    }

    fn rule_without_body(&self, start: Span, head: WrittenHead) -> Parsed<Vec<Rule>> {
        let span = self.since(start);
        let bare = head.value.is_none() && head.contains.is_none();
        if bare && head.path.is_empty() && head.parameters.is_none() {
            let next = self.token();
            let word = self.text(next.span);
            if !next.newline && self.is(Kind::Ident) && matches!(word, "if" | "contains") {
                let form = if word == "if" { "p if { ... }" } else { "p contains x" };
                return self.hinted(
                    span,
                    "var cannot be used for rule name",
                    format!("`import future.keywords.{word}` for `{form}` rules"),
                );
            }
            return self.hinted(
                span,
                "var cannot be used for rule name",
                "write a value (`p := 1`) or a body (`p if { … }`)",
            );
        }
        if bare && head.parameters.as_ref().is_some_and(Vec::is_empty) {
            return self.error(span, "rule argument list must take at least one argument");
        }
        let head = head.decide(false, false, false);
        Ok(vec![Rule { span, default: false, head, body: None, has_if: false, chained: false, otherwise: Vec::new() }])
    }

    /// After the first body: `else` branches or chained bodies.
    fn rest_of_rule(&mut self, start: Span, head: Head, body: Body, has_if: bool) -> Parsed<Vec<Rule>> {
        let mut otherwise = Vec::new();
        while self.is(Kind::Else) && !self.starts_reference() {
            if otherwise.is_empty() {
                self.may_have_else(&head)?;
            }
            let branch = self.else_branch()?;
            let ends = branch.body.is_none();
            otherwise.push(branch);
            if ends {
                break;
            }
        }
        let has_else = !otherwise.is_empty();
        let span = self.since(start);
        let mut rules = vec![Rule {
            span,
            default: false,
            head: head.clone(),
            body: Some(body),
            has_if,
            chained: false,
            otherwise,
        }];
        while self.is(Kind::LBrace) {
            if has_else {
                return self.error(self.span(), "expected else keyword");
            }
            let begin = self.span();
            let body = Some(self.braced_body()?);
            let span = self.since(begin);
            let head = head.clone();
            rules.push(Rule { span, default: false, head, body, has_if, chained: true, otherwise: Vec::new() });
        }
        Ok(rules)
    }

    fn may_have_else(&self, head: &Head) -> Parsed<()> {
        match &head.kind {
            HeadKind::Set { .. } => self.error(self.span(), "else keyword cannot be used on multi-value rules"),
            _ if !head.path.iter().all(|part| is_ground(&part.term)) => {
                self.error(self.span(), "else keyword cannot be used on rules with variables in head")
            }
            _ => Ok(()),
        }
    }

    fn else_branch(&mut self) -> Parsed<Else> {
        let start = self.bump();
        let mut value = None;
        let mut assign = false;
        match self.kind() {
            Kind::LBrace | Kind::If => {}
            Kind::Assign | Kind::Unify => {
                assign = self.is(Kind::Assign);
                self.bump();
                value = Some(self.term_in(true)?);
            }
            _ => return self.unexpected("expected else value term or rule body"),
        }
        let has_if = self.is(Kind::If) && !(value.is_some() && self.starts_reference());
        if has_if {
            self.bump();
        }
        let body = if self.is(Kind::LBrace) {
            Some(self.braced_body()?)
        } else if self.is(Kind::Eof) && has_if {
            return self.unexpected("rule body expected");
        } else if has_if {
            Some(self.single_body()?)
        } else {
            None
        };
        Ok(Else { span: self.since(start), value, assign, has_if, body })
    }

    /// The body after `if`: one expression, or expressions in braces. A set literal is read as the latter.
    fn if_body(&mut self) -> Parsed<Body> {
        if !self.is(Kind::LBrace) {
            return self.single_body();
        }
        let mark = self.mark();
        if let Ok(body) = self.single_body()
            && !is_set(&body)
        {
            return Ok(body);
        }
        self.back(mark);
        self.braced_body()
    }

    fn single_body(&mut self) -> Parsed<Body> {
        let expr = self.literal()?;
        Ok(Body { span: expr.span, braces: false, exprs: vec![expr] })
    }

    /// `{ expressions }`.
    pub(super) fn braced_body(&mut self) -> Parsed<Body> {
        let start = self.expect(Kind::LBrace, "expected {")?;
        let mut body = self.body(Kind::RBrace)?;
        self.bump();
        body.span = self.since(start);
        body.braces = true;
        Ok(body)
    }
}

fn is_set(body: &Body) -> bool {
    matches!(body.exprs.as_slice(), [Expr { kind: ExprKind::Term(Term { kind: TermKind::Set(_), .. }), .. }])
}

/// The first part of a default's value that is not a constant, by its kind.
fn not_constant(term: &Term) -> Option<&'static str> {
    match &term.kind {
        TermKind::Var(name) if matches!(&**name, "data" | "input") => Some("ref"),
        TermKind::Var(_) | TermKind::Wildcard(_) => Some("var"),
        TermKind::Ref { .. } => Some("ref"),
        TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. } | TermKind::Minus(_) => Some("call"),
        TermKind::Array(terms) | TermKind::Set(terms) => terms.iter().find_map(not_constant),
        TermKind::Object(pairs) => {
            pairs.iter().find_map(|(key, value)| not_constant(key).or_else(|| not_constant(value)))
        }
        _ => None,
    }
}
