//! A module's tree without places and without what the layout may change.

use super::super::ast::{Body, Expr, ExprKind, HeadKind, Import, Module, Rule, Term, TermKind};

/// The fields that the layout may change.
const LAYOUT: [&str; 8] = ["parens", "height", "dot", "chained", "has_if", "assign", "braces", "raw"];

/// A text that is the same for modules of the same tree.
pub(super) fn of(module: &Module) -> String {
    let mut imports: Vec<String> = module.imports.iter().map(import).collect();
    imports.sort_unstable();
    let package: Vec<&str> = module.package.path.iter().map(|name| &*name.text).collect();
    let rules: Vec<String> = module.rules.iter().map(rule).collect();
    format!("{package:?} {imports:?} {}", rules.join("\n"))
}

/// The same for one rule. A body of `true` counts as none, and so does no value as `true`.
pub(super) fn rule(rule: &Rule) -> String {
    let kind = match &rule.head.kind {
        HeadKind::Value(value) => format!("value {}", value_text(value.as_ref())),
        HeadKind::Set { element, .. } => format!("set {element:?}"),
        HeadKind::Function { parameters, value } => {
            format!("function {parameters:?} {}", value_text(value.as_ref()))
        }
    };
    let mut text =
        format!("{} {:?} {:?} {kind} {}", rule.default, rule.head.name, rule.head.path, body_text(rule.body.as_ref()));
    for branch in &rule.otherwise {
        text.push_str(&format!(" else {} {}", value_text(branch.value.as_ref()), body_text(branch.body.as_ref())));
    }
    stripped(&text)
}

fn value_text(value: Option<&Term>) -> String {
    match value {
        None | Some(Term { kind: TermKind::Bool(true), .. }) => "true".into(),
        Some(value) => format!("{value:?}"),
    }
}

fn body_text(body: Option<&Body>) -> String {
    match body {
        Some(body) if !is_true(body) => format!("{:?}", body.exprs),
        _ => "true".into(),
    }
}

/// Whether a body is only `true`.
pub(super) fn is_true(body: &Body) -> bool {
    match body.exprs.as_slice() {
        [Expr { kind: ExprKind::Term(Term { kind: TermKind::Bool(true), .. }), negated: false, with, .. }] => {
            with.is_empty()
        }
        _ => false,
    }
}

fn import(import: &Import) -> String {
    let path: Vec<&str> = import.path.iter().map(|name| &*name.text).collect();
    format!("{path:?} {:?}", import.alias.as_ref().map(|alias| &*alias.text))
}

/// A tree's text without spans and layout. Texts inside of quotes stay as they are.
fn stripped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() / 2);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let end = quoted(rest);
            out.push_str(rest.get(..end).unwrap_or(""));
            rest = rest.get(end..).unwrap_or("");
        } else if let Some(after) = rest.strip_prefix("Span {") {
            rest = after.split_once('}').map_or("", |(_, after)| after);
        } else if let Some(after) = layout_field(rest) {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("Wildcard(") {
            // Numbers of wildcards differ where a head is written once more.
            out.push('_');
            rest = after.split_once(')').map_or("", |(_, after)| after);
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        }
    }
    out
}

/// The length of the quoted text that `text` starts with.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn layout_field(text: &str) -> Option<&str> {
    let (name, after) = LAYOUT.iter().find_map(|name| Some((name, text.strip_prefix(name)?.strip_prefix(": ")?)))?;
    let _name = name;
    Some(after.trim_start_matches(|c: char| c.is_ascii_alphanumeric()))
}
