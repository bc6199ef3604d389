//! What version 1 requires of the form of rules.

use super::ast::{HeadKind, Module, Rule, Span};
use super::error::{Code, Error};
use super::token::Kind;

/// The errors of a module that must be of version 1.
pub(crate) fn check(module: &Module) -> Vec<Error> {
    let mut errors = Vec::new();
    for rule in &module.rules {
        check_rule(module, rule, &mut errors);
    }
    errors
}

fn check_rule(module: &Module, rule: &Rule, errors: &mut Vec<Error>) {
    let function = rule.head.parameters().is_some();
    let what = if function { "function" } else { "rule" };
    let mut report = |span: Span, message: String, hint: &str| {
        errors.push(Error::new(Code::Parse, &module.source, span, message).hint(hint));
    };
    let word = Kind::of_word(&rule.head.name.text);
    let keyword = word.is_base_word() || matches!(word, Kind::In | Kind::Every | Kind::Contains | Kind::If);
    if rule.head.path.is_empty() && keyword {
        let message = format!("{} keyword cannot be used for rule name", rule.head.name.text);
        report(rule.span, message, "choose another name");
    }
    if rule.body.is_none() && !rule.default && !function && matches!(rule.head.kind, HeadKind::Value(None)) {
        let message = format!("{what} must have value assignment and/or body declaration");
        report(rule.span, message, "write `:= value` or `if { … }`");
    }
    if rule.body.is_some() && !rule.has_if {
        report(rule.span, format!("`if` keyword is required before {what} body"), "write `if` before the body");
    }
    if let HeadKind::Set { contains: false, .. } = rule.head.kind {
        let message = "`contains` keyword is required for partial set rules";
        report(rule.span, message.into(), "write `p contains x`, or `p[x] if` for an object of true");
    }
    for branch in &rule.otherwise {
        if branch.body.is_some() && !branch.has_if {
            report(branch.span, format!("`if` keyword is required before {what} body"), "write `else if`");
        }
    }
}
