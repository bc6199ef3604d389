//! Rules and their heads.

use std::collections::BTreeMap;

use super::super::declared::{self, Names};
use super::super::flat::{FlatKind, FlatRule, Item, Step, StepKind, VarId, Vars};
use super::super::safety::requires_evaluation;
use super::super::scope::Occurrence;
use super::super::vars::{Skip, in_item, of_item};
use super::Builder;
use crate::syntax::ast::{Body, HeadKind, Module, Rule, Span, Term, TermKind};
use crate::syntax::error::{Code, Error};

/// One branch of a rule: its value and body.
struct Branch<'a> {
    number: usize,
    span: Span,
    value: Option<&'a Term>,
    body: Option<&'a Body>,
}

impl Builder<'_> {
    /// Makes a rule of a module flat.
    pub(in super::super) fn rule(
        &mut self,
        module: usize,
        number: usize,
        tree: &Module,
        rule: &Rule,
        out: &mut Vec<FlatRule>,
    ) {
        self.begin_rule();
        let mut names = Names::new();
        for parameter in rule.head.parameters().into_iter().flatten() {
            self.no_root_document(parameter);
            parameter_names(parameter, &mut names);
        }
        let mut parameters = Vec::new();
        for parameter in rule.head.parameters().into_iter().flatten() {
            parameters.push(self.parameter(parameter));
        }
        let arguments = self.scopes.clone();
        let mut unused = names.clone();
        let first = Branch { number: 0, span: rule.span, value: rule.head.value(), body: rule.body.as_ref() };
        let others = rule.otherwise.iter().enumerate().map(|(index, branch)| Branch {
            number: index + 1,
            span: branch.span,
            value: branch.value.as_ref(),
            body: branch.body.as_ref(),
        });
        for branch in std::iter::once(first).chain(others) {
            self.scopes = arguments.clone();
            let mut flat = self.branch(tree, rule, &branch, &names, &parameters);
            flat.module = module;
            flat.rule = number;
            unused.retain(|name| self.scopes.find(name).is_none_or(|entry| entry.count <= 1));
            out.push(flat);
        }
        if self.strict {
            for name in unused {
                let message = format!("unused argument {name}");
                let error = Error::new(Code::Compile, self.source, rule.head.span, message);
                self.unused.push(error.hint("use _ (wildcard variable) instead"));
            }
        }
    }

    fn branch(&mut self, tree: &Module, rule: &Rule, branch: &Branch, names: &Names, parameters: &[Item]) -> FlatRule {
        self.hidden = vec![names.clone(), branch.body.map(declared::in_body).unwrap_or_default()];
        let mut body = Vec::new();
        match branch.body {
            Some(written) => self.body(written, &mut body),
            None => body.push(Step::generated(branch.span, StepKind::Term(Item::Bool(true)))),
        }
        let mut head_vars = Vec::new();
        let mut path: Vec<Item> =
            tree.package.path.iter().chain([&rule.head.name]).map(|name| Item::String(name.text.clone())).collect();
        for part in &rule.head.path {
            let item = self.head_term(&part.term, &mut body, &mut head_vars);
            path.push(match item {
                Item::Null | Item::Bool(_) | Item::Number(_) | Item::String(_) | Item::Var(_) => item,
                other => Item::Var(self.capture(other, part.term.span, &mut body)),
            });
        }
        let kind = match &rule.head.kind {
            HeadKind::Set { element, .. } => FlatKind::Set(self.head_term(element, &mut body, &mut head_vars)),
            _ => {
                let value = match branch.value {
                    Some(value) => self.head_term(value, &mut body, &mut head_vars),
                    None => Item::Bool(true),
                };
                match rule.head.parameters() {
                    Some(_) => FlatKind::Function { parameters: parameters.to_vec(), value },
                    None => FlatKind::Value(value),
                }
            }
        };
        if let Some(written) = branch.body {
            let mut used: Vars = head_vars.iter().map(|(id, _)| *id).collect();
            let (FlatKind::Set(item) | FlatKind::Value(item) | FlatKind::Function { value: item, .. }) = &kind;
            used.extend(of_item(item, Skip::default()));
            self.report_unused(written, &body, &used);
        }
        FlatRule {
            module: 0,
            rule: 0,
            branch: branch.number,
            span: branch.span,
            name_path: path.iter().skip(tree.package.path.len()).cloned().collect(),
            path,
            kind,
            default: rule.default,
            head_vars,
            body,
        }
    }

    /// A term of the head. References and comprehensions become steps of the body.
    fn head_term(&mut self, term: &Term, body: &mut Vec<Step>, head_vars: &mut Vec<(VarId, Span)>) -> Item {
        let mut item = self.term(term, body);
        if requires_evaluation(&item) {
            item = Item::Var(self.capture(item, term.span, body));
        }
        in_item(&item, Skip::CLOSURES, &mut |id| head_vars.push((id, term.span)));
        self.locate(term, head_vars);
        item
    }

    /// Gives the variables written in a term their own places.
    fn locate(&self, term: &Term, head_vars: &mut [(VarId, Span)]) {
        let mut places: BTreeMap<VarId, Span> = BTreeMap::new();
        self.places(term, &mut places);
        for (id, span) in head_vars {
            if let Some(place) = places.get(id) {
                *span = *place;
            }
        }
    }

    fn places(&self, term: &Term, found: &mut BTreeMap<VarId, Span>) {
        match &term.kind {
            TermKind::Var(name) => {
                let id = self.scopes.find(name).map(|entry| entry.id).or_else(|| self.free.get(name).copied());
                found.extend(id.map(|id| (id, term.span)));
            }
            TermKind::Array(terms) | TermKind::Set(terms) => terms.iter().for_each(|term| self.places(term, found)),
            TermKind::Object(pairs) => {
                for (key, value) in pairs {
                    self.places(key, found);
                    self.places(value, found);
                }
            }
            TermKind::Ref { head, path } => {
                self.places(head, found);
                path.iter().for_each(|part| self.places(&part.term, found));
            }
            _ => {}
        }
    }

    fn no_root_document(&mut self, parameter: &Term) {
        if let Some(name) = parameter.as_var().filter(|name| matches!(&***name, "input" | "data")) {
            let message = format!("args must not shadow {name} (use a different variable name)");
            self.report(Code::Compile, parameter.span, message);
        }
        if let TermKind::Array(terms) = &parameter.kind {
            terms.iter().for_each(|term| self.no_root_document(term));
        }
    }

    fn parameter(&mut self, term: &Term) -> Item {
        match &term.kind {
            TermKind::Var(name) => match self.scopes.find(name) {
                Some(entry) => {
                    self.scopes.seen(name);
                    Item::Var(entry.id)
                }
                None => {
                    let id = self.variables.named(name);
                    self.scopes.insert(name, id, Occurrence::Argument);
                    Item::Var(id)
                }
            },
            TermKind::Wildcard(number) => Item::Var(self.wildcard(*number)),
            TermKind::Array(terms) => Item::Array(terms.iter().map(|term| self.parameter(term)).collect()),
            TermKind::Object(pairs) => {
                let mut keys = Vec::new();
                Item::Object(
                    pairs.iter().map(|(key, value)| (self.term(key, &mut keys), self.parameter(value))).collect(),
                )
            }
            TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. } | TermKind::Minus(_) => {
                self.report(Code::Compile, term.span, "rule arguments cannot contain calls");
                Item::Null
            }
            _ => {
                let mut steps = Vec::new();
                self.term(term, &mut steps)
            }
        }
    }
}

/// The names that parameters declare.
fn parameter_names(term: &Term, names: &mut Names) {
    match &term.kind {
        TermKind::Var(name) => {
            names.insert(name.clone());
        }
        TermKind::Array(terms) => terms.iter().for_each(|term| parameter_names(term, names)),
        TermKind::Object(pairs) => pairs.iter().for_each(|(_, value)| parameter_names(value, names)),
        TermKind::Ref { head, path } => {
            parameter_names(head, names);
            path.iter().for_each(|part| parameter_names(&part.term, names));
        }
        _ => {}
    }
}
