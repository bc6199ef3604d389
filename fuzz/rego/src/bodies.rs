//! Bodies: conditions, assignments, iteration, and what replaces input, data and functions.

use sekisho_rego::syntax::ast::Version;

use crate::constants::Kind;
use crate::writer::{Form, Writer};

/// The builtin that searches a tree.
const SEARCH: &str = "walk";

impl Writer<'_> {
    /// The expressions of a body, at least one.
    pub(crate) fn body(&mut self, depth: usize, most: usize) -> Vec<String> {
        let count = 1 + self.random.below(most);
        (0..count).map(|_| self.expression(depth)).collect()
    }

    fn expression(&mut self, depth: usize) -> String {
        match self.random.below(24) {
            0..=3 => self.assignment(depth),
            4 | 5 => self.iteration(depth),
            6 if self.keywords => self.every(depth),
            7 => self.pattern(depth),
            8 | 9 => {
                let inner = self.scoped(|writer| writer.condition(depth));
                // A brace behind `not` begins a body.
                if inner.starts_with('{') { inner } else { format!("not {inner}") }
            }
            10 | 11 => self.replaced(depth),
            12 => self.below(),
            _ => self.condition(depth),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        match self.random.below(10) {
            0..=4 => self.comparison(depth),
            5 if self.keywords => self.membership(depth),
            6 => {
                let kind = self.any_kind();
                self.term(kind, depth)
            }
            7 => self.call(Kind::Bool, depth.max(1)),
            8 => self.place(Kind::Any),
            _ => self.term(Kind::Bool, depth),
        }
    }

    fn comparison(&mut self, depth: usize) -> String {
        let kind = self.any_kind();
        let left = self.term(kind, depth);
        let right = if self.one_in(2) { self.constant(kind, 1) } else { self.term(kind, depth) };
        let op = self.pick(&["==", "==", "=", "!=", "<", "<=", ">", ">="]);
        format!("{left} {op} {right}")
    }

    fn membership(&mut self, depth: usize) -> String {
        let collection = self.collection(depth);
        let kind = self.any_kind();
        let item = self.term(kind, 0);
        if self.one_in(4) {
            let key = self.term(Kind::Number, 0);
            return format!("{key}, {item} in {collection}");
        }
        format!("{item} in {collection}")
    }

    fn collection(&mut self, depth: usize) -> String {
        let kind = [Kind::Array, Kind::Array, Kind::Set, Kind::Object][self.random.below(4)];
        self.term(kind, depth)
    }

    fn assignment(&mut self, depth: usize) -> String {
        let kind = self.any_kind();
        let term = self.term(kind, depth);
        let op = if self.one_in(4) { "=" } else { ":=" };
        format!("{} {op} {term}", self.bind(kind))
    }

    fn pattern(&mut self, depth: usize) -> String {
        let kind = if self.one_in(2) { Kind::Array } else { Kind::Object };
        let term = self.term(kind, depth);
        let (one, two) = (self.bind(Kind::Any), self.bind(Kind::Any));
        let key = self.constant(Kind::String, 0);
        let pattern = match (kind, self.random.below(3)) {
            (Kind::Array, 0) => format!("[{one}, {two}]"),
            (Kind::Array, 1) => format!("[{one}, {{\"a\": {two}}}]"),
            (Kind::Array, _) => format!("[{one}, {two}, _]"),
            (_, 0) => format!("{{\"a\": {one}, \"b\": {two}}}"),
            (_, 1) => format!("{{{key}: {one}, \"n\": [{two}]}}"),
            _ => format!("{{\"id\": {one}, \"n\": {two}, \"tags\": _}}"),
        };
        let op = if self.one_in(2) { "=" } else { ":=" };
        if self.one_in(3) && op == "=" { format!("{term} = {pattern}") } else { format!("{pattern} {op} {term}") }
    }

    fn iteration(&mut self, depth: usize) -> String {
        let collection = self.collection(depth);
        if !self.keywords || self.one_in(3) {
            let (key, value) = (self.bind(Kind::Any), self.bind(Kind::Any));
            let place = self.place(Kind::Array);
            return match self.random.below(3) {
                0 => format!("some {key}; {value} := {place}[{key}]"),
                1 => format!("some {key}, {value}; {place}[{key}] = {value}"),
                _ => format!("{value} := {place}[{key}]"),
            };
        }
        if self.one_in(2) {
            let (key, value) = (self.bind(Kind::Any), self.bind(Kind::Any));
            return format!("some {key}, {value} in {collection}");
        }
        if self.one_in(5) {
            let (one, two) = (self.bind(Kind::Any), self.bind(Kind::Any));
            return format!("some [{one}, {two}] in {collection}");
        }
        format!("some {} in {collection}", self.bind(Kind::Any))
    }

    fn every(&mut self, depth: usize) -> String {
        let collection = self.collection(depth);
        self.scoped(|writer| {
            let value = writer.bind(Kind::Any);
            let names = if writer.one_in(3) { format!("{}, {value}", writer.bind(Kind::Any)) } else { value };
            let body = writer.body(depth.saturating_sub(1), 2).join("; ");
            format!("every {names} in {collection} {{ {body} }}")
        })
    }

    fn below(&mut self) -> String {
        let what = self.place(Kind::Any);
        let (path, value) = (self.bind(Kind::Array), self.bind(Kind::Any));
        match self.random.below(3) {
            0 => format!("{SEARCH}({what}, [{path}, {value}])"),
            1 => format!("[{path}, {value}] := {SEARCH}({what})"),
            _ => format!("{SEARCH}({what}, [{path}, {value}]); is_number({value})"),
        }
    }

    /// A condition under `with`.
    fn replaced(&mut self, depth: usize) -> String {
        let condition = match self.rule(|rule| rule.form == Form::Complete) {
            Some(rule) if self.one_in(2) => {
                let kind = self.any_kind();
                format!("{} == {}", rule.name, self.term(kind, 0))
            }
            _ => {
                let kind = self.any_kind();
                let term = self.term(kind, depth);
                format!("{} := {term}", self.bind(kind))
            }
        };
        let mut out = condition;
        for _ in 0..=self.random.below(2) {
            let (what, by) = self.modifier();
            out.push_str(&format!(" with {what} as {by}"));
        }
        out
    }

    fn modifier(&mut self) -> (String, String) {
        match self.random.below(9) {
            0 => ("input".to_owned(), self.term(Kind::Object, 1)),
            1..=3 => {
                let what = self.pick(&[
                    "input.n",
                    "input.s",
                    "input.o.a",
                    "input.xs",
                    "data.d.n",
                    "data.d.o",
                    "data.d",
                    "data.q.w",
                ]);
                let kind = self.any_kind();
                (what.to_owned(), self.term(kind, 1))
            }
            4 => match self.rule(|rule| rule.form == Form::Complete) {
                Some(rule) => (format!("data.t.{}", rule.name), self.constant(rule.kind, 1)),
                None => ("data.lib.one".to_owned(), self.constant(Kind::Any, 1)),
            },
            5 => ("data.lib".to_owned(), self.term(Kind::Object, 0)),
            6 => (self.pick(&["count", "lower", "abs", "to_number"]).to_owned(), self.constant(Kind::Any, 1)),
            7 => {
                let what = self.pick(&["count", "sum", "max"]).to_owned();
                (what, self.pick(&["sum", "count", "data.lib.f"]).to_owned())
            }
            _ => match self.rule(|rule| matches!(rule.form, Form::Function(_))) {
                Some(rule) => (rule.name, self.constant(Kind::Any, 1)),
                None => ("data.lib.f".to_owned(), self.constant(Kind::Any, 1)),
            },
        }
    }

    /// `if` where the version has it.
    pub(crate) fn if_word(&self) -> &'static str {
        if self.version == Version::V1 { "if " } else { "" }
    }
}
