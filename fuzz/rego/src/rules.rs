//! Rules of every form.

use crate::constants::Kind;
use crate::writer::{Form, Known, Writer};

/// A rule with all its bodies, and what later rules may know of it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Definitions that may stand in any order.
    pub(crate) definitions: Vec<String>,
    pub(crate) known: Known,
}

impl Writer<'_> {
    /// The rule of a number.
    pub(crate) fn whole_rule(&mut self, number: usize) -> Rule {
        let kind = if self.one_in(5) { Kind::Any } else { self.any_kind() };
        let known = |form: Form| {
            let letter = if matches!(form, Form::Function(_)) { "f" } else { "r" };
            Known { name: format!("{letter}{number}"), form, kind }
        };
        let known = match self.random.below(14) {
            0..=5 => known(Form::Complete),
            6 | 7 => known(Form::Set),
            8..=10 => known(Form::Object),
            _ => known(Form::Function(1 + self.random.below(3))),
        };
        let definitions = match known.form {
            Form::Complete => self.complete(&known),
            Form::Set => self.set(&known),
            Form::Object => self.object(&known),
            Form::Function(count) => self.function(&known, count),
        };
        Rule { definitions, known }
    }

    /// Some definitions, each with variables of its own.
    fn several(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> String) -> Vec<String> {
        let count = 1 + self.random.below(most);
        (0..count).map(|_| self.scoped(&mut one)).collect()
    }

    fn braces(&mut self) -> String {
        let body = self.body(2, 4);
        let word = self.if_word();
        if body.len() == 1 && !word.is_empty() && self.one_in(4) && !body[0].starts_with(['{', 'e']) {
            return format!("{word}{}", body[0]);
        }
        format!("{word}{{\n\t{}\n}}", body.join("\n\t"))
    }

    fn value(&mut self, kind: Kind) -> String {
        match self.random.below(3) {
            0 => self.constant(kind, 1),
            1 => self.variable(kind).unwrap_or_else(|| self.term(kind, 1)),
            _ => self.term(kind, 2),
        }
    }

    /// A body, a value that may use its variables, and other bodies after `else`.
    fn chain(&mut self, head: &str, kind: Kind, same: Option<&str>) -> String {
        let links = if self.one_in(4) { 1 + self.random.below(2) } else { 0 };
        let link = |writer: &mut Self, word: &str| {
            writer.scoped(|writer| {
                let body = writer.braces();
                let value = same.map_or_else(|| writer.value(kind), str::to_owned);
                let op = if writer.version == sekisho_rego::syntax::ast::Version::V1 || writer.one_in(2) {
                    ":="
                } else {
                    "="
                };
                format!("{word} {op} {value} {body}")
            })
        };
        let mut out = link(self, head);
        for _ in 0..links {
            out.push_str(&link(self, " else"));
        }
        if self.one_in(12) {
            out.push_str(&format!(" else := {}", self.constant(kind, 1)));
        }
        out
    }

    fn complete(&mut self, known: &Known) -> Vec<String> {
        let (name, kind) = (known.name.clone(), known.kind);
        if self.one_in(8) {
            return vec![format!("{name} := {}", self.term(kind, 3))];
        }
        // Equal values end a rule early.
        let same = if self.one_in(2) { Some(self.constant(kind, 0)) } else { None };
        let mut out = if self.one_in(4) {
            self.several(3, |writer| format!("{name} {}", writer.braces()))
        } else {
            self.several(3, |writer| writer.chain(&name, kind, same.as_deref()))
        };
        if self.one_in(3) {
            out.push(format!("default {name} := {}", self.constant(kind, 1)));
        }
        out
    }

    fn set(&mut self, known: &Known) -> Vec<String> {
        let (name, kind) = (known.name.clone(), known.kind);
        self.several(3, |writer| {
            let body = writer.braces();
            let value = writer.value(kind);
            if writer.keywords && !writer.if_word().is_empty() {
                format!("{name} contains {value} {body}")
            } else {
                format!("{name}[{value}] {body}")
            }
        })
    }

    fn object(&mut self, known: &Known) -> Vec<String> {
        let (name, kind) = (known.name.clone(), known.kind);
        let general = !self.if_word().is_empty() && self.one_in(3);
        self.several(3, |writer| {
            let body = writer.braces();
            let value = writer.value(kind);
            let key = writer.value(Kind::String);
            if !general {
                let op = if writer.if_word().is_empty() { "=" } else { ":=" };
                return format!("{name}[{key}] {op} {value} {body}");
            }
            match writer.random.below(5) {
                0 => format!("{name}.a.b := {value} {body}"),
                1 => format!("{name}[{key}].b := {value} {body}"),
                2 => format!("{name}.c contains {value} {body}"),
                3 => format!("{name}.d[{key}] := {value} {body}"),
                _ => format!("{name}[{key}].e contains {value} {body}"),
            }
        })
    }

    fn function(&mut self, known: &Known, count: usize) -> Vec<String> {
        let (name, kind) = (known.name.clone(), known.kind);
        let mut out = self.several(3, |writer| {
            let parameters: Vec<String> = (0..count).map(|_| writer.parameter()).collect();
            let head = format!("{name}({})", parameters.join(", "));
            if writer.one_in(6) { format!("{head} {}", writer.braces()) } else { writer.chain(&head, kind, None) }
        });
        if self.one_in(4) {
            let names: Vec<&str> = (0..count).map(|_| "_").collect();
            out.push(format!("default {name}({}) := {}", names.join(", "), self.constant(kind, 1)));
        }
        out
    }

    fn parameter(&mut self) -> String {
        match self.random.below(8) {
            0 => self.constant(Kind::Number, 0),
            1 => self.constant(Kind::Any, 1),
            2 => format!("[{}, {}]", self.bind(Kind::Any), self.bind(Kind::Any)),
            3 => format!("{{\"a\": {}}}", self.bind(Kind::Any)),
            4 => "_".to_owned(),
            _ => self.bind(Kind::Any),
        }
    }
}
