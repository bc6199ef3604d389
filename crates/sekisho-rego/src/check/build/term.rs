//! Terms.

use super::super::declared;
use super::super::flat::{Base, Callee, Comprehension, ComprehensionKind, Item, Step, StepKind};
use super::super::safety::requires_evaluation;
use super::Builder;
use crate::syntax::ast::{Body, Expr, ExprKind, RefPart, Span, TemplatePart, Term, TermKind};
use crate::syntax::error::Code;

impl Builder<'_> {
    /// A term; what has to be evaluated before it goes to `out`.
    pub(super) fn term(&mut self, term: &Term, out: &mut Vec<Step>) -> Item {
        match &term.kind {
            TermKind::Null => Item::Null,
            TermKind::Bool(value) => Item::Bool(*value),
            TermKind::Number(text) => Item::Number(text.clone()),
            TermKind::String { value, .. } => Item::String(value.clone()),
            TermKind::Var(name) => self.name(name),
            TermKind::Wildcard(number) => Item::Var(self.wildcard(*number)),
            TermKind::Ref { head, path } => self.reference(head, path, out),
            TermKind::Array(terms) => Item::Array(self.terms(terms, out)),
            TermKind::Set(terms) => Item::Set(self.terms(terms, out)),
            TermKind::Object(pairs) => {
                Item::Object(pairs.iter().map(|(key, value)| (self.term(key, out), self.term(value, out))).collect())
            }
            TermKind::ArrayComprehension { head, body } => self.comprehension(ComprehensionKind::Array, &[head], body),
            TermKind::SetComprehension { head, body } => self.comprehension(ComprehensionKind::Set, &[head], body),
            TermKind::ObjectComprehension { key, value, body } => {
                self.comprehension(ComprehensionKind::Object, &[key, value], body)
            }
            TermKind::Template { parts, .. } => self.template(term.span, parts, out),
            TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. } | TermKind::Minus(_) => {
                self.nested_call(term, out)
            }
        }
    }

    pub(super) fn terms(&mut self, terms: &[Term], out: &mut Vec<Step>) -> Vec<Item> {
        terms.iter().map(|term| self.term(term, out)).collect()
    }

    /// A call whose result is a generated variable.
    fn nested_call(&mut self, term: &Term, out: &mut Vec<Step>) -> Item {
        let Some((callee, mut arguments)) = self.call(term, out) else { return Item::Null };
        let result = self.variables.generated();
        if let Callee::Builtin(name) = callee
            && crate::builtins::signature(name).is_some_and(|signature| signature.result.is_none())
        {
            self.report(Code::Type, term.span, format!("{} used as value", self.text(term.span)));
        }
        arguments.push(Item::Var(result));
        out.push(Step::generated(term.span, StepKind::Call { callee, arguments }));
        Item::Var(result)
    }

    pub(super) fn reference(&mut self, head: &Term, path: &[RefPart], out: &mut Vec<Step>) -> Item {
        let subject = self.term(head, out);
        let mut items: Vec<Item> = Vec::with_capacity(path.len());
        for part in path {
            items.push(self.term(&part.term, out));
        }
        self.extend(subject, items, head.span, out)
    }

    /// A reference that goes on from `subject`.
    pub(super) fn extend(&mut self, subject: Item, items: Vec<Item>, span: Span, out: &mut Vec<Step>) -> Item {
        match subject {
            Item::Ref(base, mut start) => {
                start.extend(items);
                Item::Ref(base, start)
            }
            Item::Var(id) => Item::Ref(Base::Var(id), items),
            other => {
                let id = self.capture(other, span, out);
                Item::Ref(Base::Var(id), items)
            }
        }
    }

    fn comprehension(&mut self, kind: ComprehensionKind, heads: &[&Term], body: &Body) -> Item {
        self.hidden.push(declared::in_body(body));
        self.scopes.push();
        let mut steps = Vec::new();
        self.body(body, &mut steps);
        let mut terms = Vec::with_capacity(heads.len());
        for head in heads {
            let term = self.term(head, &mut steps);
            terms.push(self.evaluated(term, head.span, &mut steps));
        }
        let mut used = super::Vars::new();
        for item in &terms {
            used.extend(super::super::vars::of_item(item, super::super::vars::Skip::default()));
        }
        self.report_unused(body, &steps, &used);
        self.scopes.pop();
        self.hidden.pop();
        Item::Comprehension(Box::new(Comprehension { kind, terms, body: steps }))
    }

    /// A value whose references and comprehensions are evaluated by a step: their variables may be bound there.
    pub(super) fn evaluated(&mut self, item: Item, span: Span, out: &mut Vec<Step>) -> Item {
        if requires_evaluation(&item) { Item::Var(self.capture(item, span, out)) } else { item }
    }

    /// A template: a call with an array of texts and of sets of at most one value.
    fn template(&mut self, span: Span, parts: &[TemplatePart], out: &mut Vec<Step>) -> Item {
        let mut items = Vec::new();
        for part in parts {
            match part {
                TemplatePart::Text(text) => items.push(Item::String(text.clone())),
                TemplatePart::Expr(expr) => items.push(self.interpolated(expr)),
            }
        }
        let result = self.variables.generated();
        let arguments = vec![Item::Array(items), Item::Var(result)];
        let callee = Callee::Builtin("internal.template_string");
        out.push(Step::generated(span, StepKind::Call { callee, arguments }));
        Item::Var(result)
    }

    fn interpolated(&mut self, expr: &Expr) -> Item {
        let ExprKind::Term(term) = &expr.kind else { return Item::Null };
        self.scopes.push();
        let mut body = Vec::new();
        let with = self.modifiers(&expr.with, &mut body);
        let mut nested = Vec::new();
        let value = self.term(term, &mut nested);
        for step in &mut nested {
            step.with.clone_from(&with);
        }
        if let [Step { kind: StepKind::Call { callee: Callee::Builtin(name), .. }, .. }] = nested.as_slice()
            && crate::builtins::signature(name).is_some_and(|signature| signature.relation)
        {
            let message = format!("illegal call to relation built-in '{name}' that may cause multiple outputs");
            self.report(Code::Compile, term.span, message);
        }
        self.scopes.pop();
        if let (Item::Var(_), true, true) = (&value, nested.is_empty(), body.is_empty()) {
            return Item::Set(vec![value]);
        }
        body.extend(nested);
        let id = self.variables.generated();
        let mut step =
            Step::generated(term.span, StepKind::Equal { left: Item::Var(id), right: value, assigned: false });
        step.with = with;
        body.push(step);
        Item::Comprehension(Box::new(Comprehension { kind: ComprehensionKind::Set, terms: vec![Item::Var(id)], body }))
    }
}
