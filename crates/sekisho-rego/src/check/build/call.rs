//! Calls and `with` modifiers.

use std::sync::Arc;

use super::super::flat::{Base, Callee, Comprehension, ComprehensionKind, Item, Modifier, Step};
use super::super::scope::Occurrence;
use super::Builder;
use crate::builtins::signature;
use crate::syntax::ast::{Term, TermKind, With};
use crate::syntax::error::Code;

impl Builder<'_> {
    /// What a call, an operator, `in` or a minus calls, and with what; absent for other terms.
    pub(super) fn call(&mut self, term: &Term, out: &mut Vec<Step>) -> Option<(Callee, Vec<Item>)> {
        match &term.kind {
            TermKind::Call { function, arguments } => {
                let callee = self.callee(function);
                if callee == Callee::Builtin("print") {
                    return Some((callee, arguments.iter().map(|term| self.printed(term)).collect()));
                }
                let arguments = self.terms(arguments, out);
                Some((callee, arguments))
            }
            TermKind::Infix { op, left, right, .. } => {
                let arguments = vec![self.term(left, out), self.term(right, out)];
                Some((Callee::Builtin(op.builtin()), arguments))
            }
            TermKind::In { key: None, value, collection } => {
                let arguments = vec![self.term(value, out), self.term(collection, out)];
                Some((Callee::Builtin("internal.member_2"), arguments))
            }
            TermKind::In { key: Some(key), value, collection } => {
                let arguments = vec![self.term(key, out), self.term(value, out), self.term(collection, out)];
                Some((Callee::Builtin("internal.member_3"), arguments))
            }
            TermKind::Minus(operand) => {
                let arguments = vec![Item::Number(Arc::from("0")), self.term(operand, out)];
                Some((Callee::Builtin("minus"), arguments))
            }
            _ => None,
        }
    }

    /// An argument of `print`: a set of at most one value.
    fn printed(&mut self, term: &Term) -> Item {
        let mut body = Vec::new();
        let value = self.term(term, &mut body);
        let terms = vec![Item::Var(self.capture(value, term.span, &mut body))];
        Item::Comprehension(Box::new(Comprehension { kind: ComprehensionKind::Set, terms, body }))
    }

    fn callee(&mut self, function: &Term) -> Callee {
        let Some(names) = function.static_path() else {
            return Callee::Unknown(self.text(function.span).to_owned());
        };
        let Some((head, rest)) = names.split_first() else { return Callee::Unknown(String::new()) };
        if self.scopes.find(head).is_some_and(|entry| entry.occurrence != Occurrence::Seen) {
            let name = self.text(function.span).to_owned();
            self.report(Code::Compile, function.span, format!("called function {name} shadowed"));
            return Callee::Unknown(name);
        }
        match self.static_target(head, rest) {
            Some(path) => match path.split_first() {
                Some((root, rest)) if &**root == "data" => Callee::Rule(rest.to_vec()),
                _ => Callee::Unknown(path.join(".")),
            },
            None => {
                let dotted = names.join(".");
                match signature(&dotted) {
                    Some(signature) => Callee::Builtin(&signature.name),
                    None => Callee::Unknown(dotted),
                }
            }
        }
    }

    /// The path of a document that starts at a global, `data` or `input`.
    fn static_target(&mut self, head: &Arc<str>, rest: &[Arc<str>]) -> Option<Vec<Arc<str>>> {
        let mut path = match &**head {
            "data" | "input" => vec![head.clone()],
            _ => self.global(head)?,
        };
        path.extend(rest.iter().cloned());
        Some(path)
    }

    pub(super) fn modifiers(&mut self, with: &[With], out: &mut Vec<Step>) -> Vec<Modifier> {
        with.iter().map(|with| self.modifier(with, out)).collect()
    }

    fn modifier(&mut self, with: &With, out: &mut Vec<Step>) -> Modifier {
        let target = self.target(&with.target, out);
        let value = match self.function_value(&with.value) {
            Some(function) => function,
            None => {
                let value = self.term(&with.value, out);
                match &value {
                    // It may be a function.
                    Item::Ref(Base::Data, path) if path.iter().all(|key| matches!(key, Item::String(_))) => value,
                    _ => self.evaluated(value, with.value.span, out),
                }
            }
        };
        Modifier { target, target_span: with.target.span, value }
    }

    /// The target of a modifier. `input` and `data` are the documents even if a variable hides them.
    fn target(&mut self, target: &Term, out: &mut Vec<Step>) -> Item {
        if let Some(function) = self.function_value(target) {
            return function;
        }
        let (head, path) = match &target.kind {
            TermKind::Ref { head, path } => (&**head, path.as_slice()),
            _ => (target, [].as_slice()),
        };
        let root = head.as_var().filter(|name| matches!(&***name, "input" | "data")).cloned();
        match root {
            Some(name) => {
                let base = if &*name == "data" { Base::Data } else { Base::Input };
                let items = path.iter().map(|part| self.term(&part.term, out)).collect();
                Item::Ref(base, items)
            }
            None => self.term(target, out),
        }
    }

    /// A built-in function named by a term.
    fn function_value(&mut self, term: &Term) -> Option<Item> {
        let names = term.static_path()?;
        let (head, _) = names.split_first()?;
        let local = self.scopes.find(head).is_some_and(|entry| entry.occurrence != Occurrence::Seen);
        if local || matches!(&**head, "input" | "data") || self.global(head).is_some() {
            return None;
        }
        signature(&names.join(".")).map(|signature| Item::Function(&signature.name))
    }
}
