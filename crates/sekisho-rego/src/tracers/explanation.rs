//! An evaluation as lines that a person reads.

use std::collections::HashMap;

use super::place;
use crate::eval::{Event, Node, Op, Tracer};
use crate::syntax::ast::{Module, Span};
use crate::value::Value;

/// The most events that are kept.
const MOST: usize = 100_000;

/// Which events are shown, named as OPA names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All but what was unified.
    Full,
    /// What the policy noted by `trace`, with the bodies around each note.
    Notes,
    /// What did not hold, with the bodies around it.
    Fails,
    /// All, with values.
    Debug,
}

/// Keeps events until they are shown.
#[derive(Debug)]
pub struct Explanation {
    detail: Detail,
    events: Vec<Kept>,
    omitted: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    op: Op,
    rule: Option<String>,
    body: bool,
    module: Option<usize>,
    span: Span,
    depth: u32,
    query: u64,
    parent: u64,
    message: String,
    values: Vec<Value>,
}

/// One event as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub op: Op,
    /// The module's file, or `query`.
    pub file: String,
    /// The line in it, from 1.
    pub row: u32,
    /// The column, from 1.
    pub column: u32,
    /// How many bodies are open around it.
    pub depth: u32,
    /// The number of the body.
    pub query: u64,
    /// The number of the body around it; 0 for none.
    pub parent: u64,
    /// The document, or the text of the expression or body.
    pub text: String,
    /// What the policy or the engine says of it; empty for nothing.
    pub message: String,
    /// The values it read.
    pub values: Vec<Value>,
}

impl Explanation {
    /// An explanation in this detail.
    #[must_use]
    pub fn new(detail: Detail) -> Explanation {
        Explanation { detail, events: Vec::new(), omitted: 0 }
    }

    /// How many events there were beyond those that are kept.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// What happened, in order. `query` is the text of the query.
    #[must_use]
    pub fn lines(&self, modules: &[Module], query: &str) -> Vec<Line> {
        let shown = match self.detail {
            Detail::Full | Detail::Debug => self.events.iter().collect(),
            Detail::Notes => self.with_bodies(Op::Note),
            Detail::Fails => self.with_bodies(Op::Fail),
        };
        shown.into_iter().map(|event| event.line(modules, query)).collect()
    }

    /// The events of one kind, each after the bodies that are open around it.
    fn with_bodies(&self, wanted: Op) -> Vec<&Kept> {
        let (mut out, mut open) = (Vec::new(), HashMap::<u64, &Kept>::new());
        for event in &self.events {
            if event.op == wanted {
                let mut path = vec![event];
                let mut at = event.query;
                while let Some(body) = open.remove(&at) {
                    path.push(body);
                    at = body.parent;
                }
                out.extend(path.into_iter().rev());
                // A body stands once above all that is shown of it.
                open.clear();
            }
            if event.body && matches!(event.op, Op::Enter | Op::Redo) {
                open.insert(event.query, event);
            }
        }
        out
    }
}

impl Tracer for Explanation {
    fn event(&mut self, event: &Event<'_>) {
        let further = matches!(event.node, Node::Expr { further: true, .. });
        let shown = match event.op {
            // The first step stands for the expression.
            Op::Eval => !further && matches!(self.detail, Detail::Full | Detail::Debug),
            Op::Unify => self.detail == Detail::Debug,
            Op::Fail => self.detail != Detail::Notes,
            Op::Redo | Op::Index | Op::Exit | Op::Duplicate => matches!(self.detail, Detail::Full | Detail::Debug),
            Op::Enter | Op::Note => true,
        };
        let body = !matches!(event.node, Node::Expr { .. });
        if !(shown || event.op == Op::Redo && body) {
            return;
        }
        if self.events.len() >= MOST {
            self.omitted += 1;
            return;
        }
        self.events.push(Kept {
            op: event.op,
            rule: match event.node {
                Node::Rule(path) => Some(path.to_owned()),
                Node::Body | Node::Expr { .. } => None,
            },
            body,
            module: event.module,
            span: event.span,
            depth: event.depth,
            query: event.query,
            parent: event.parent,
            message: event.message.to_owned(),
            values: event.values.to_vec(),
        });
    }

    fn wants_values(&self) -> bool {
        matches!(self.detail, Detail::Debug | Detail::Fails)
    }
}

impl Kept {
    fn line(&self, modules: &[Module], query: &str) -> Line {
        let (file, source) = place::source(modules, query, self.module);
        let text = self.rule.clone().unwrap_or_else(|| place::text(source, self.span));
        let Span { line, column, .. } = self.span;
        Line {
            op: self.op,
            file: file.to_owned(),
            row: line.max(1),
            column: column.max(1),
            depth: self.depth,
            query: self.query,
            parent: self.parent,
            text,
            message: self.message.clone(),
            values: self.values.clone(),
        }
    }
}

impl Line {
    /// `a.rego:5`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.row)
    }

    /// The event without its place; `show` gives the text of a value or of a note, and may hide it.
    #[must_use]
    pub fn describe(&self, show: &dyn Fn(&str) -> String) -> String {
        let bars = "| ".repeat(self.depth as usize);
        let values: Vec<String> = self.values.iter().map(|value| show(&value.to_string())).collect();
        let op = self.op.as_str();
        match self.op {
            Op::Note => format!("{bars}{op} {}", show(&Value::string(self.message.as_str()).to_string())),
            Op::Index => format!("{bars}{op} {} ({})", self.text, self.message),
            _ if values.is_empty() => format!("{bars}{op} {}", self.text),
            _ => format!("{bars}{op} {}  # {}", self.text, values.join(", ")),
        }
    }
}
