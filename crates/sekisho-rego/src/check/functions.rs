//! Which functions exist, and with how many arguments they are called.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::flat::{Callee, FlatRule, Item, Step, StepKind};
use super::visit;
use crate::builtins::{Signature, signature};
use crate::syntax::ast::Source;
use crate::syntax::error::{Code, Error};

/// The functions of the modules.
pub(super) struct Functions<'m> {
    /// The number of parameters of each rule with a constant path; 0 for a rule that is not a function.
    rules: BTreeMap<Vec<&'m str>, usize>,
}

impl<'m> Functions<'m> {
    pub(super) fn new(rules: &'m [FlatRule]) -> Self {
        let mut found = BTreeMap::new();
        for rule in rules {
            let path: Option<Vec<&str>> = rule
                .path
                .iter()
                .map(|item| match item {
                    Item::String(text) => Some(&**text),
                    _ => None,
                })
                .collect();
            if let Some(path) = path {
                found.entry(path).or_insert(rule.arity());
            }
        }
        Self { rules: found }
    }

    /// The number of arguments; none if there is no such function or it takes any number.
    pub(super) fn arity(&self, callee: &Callee) -> Option<usize> {
        match callee {
            Callee::Builtin(name) => signature(name).filter(|s| s.variadic.is_none()).map(Signature::arity),
            Callee::Rule(path) => self.rule(path),
            Callee::Unknown(_) => None,
        }
    }

    fn rule(&self, path: &[Arc<str>]) -> Option<usize> {
        let path: Vec<&str> = path.iter().map(|name| &**name).collect();
        self.rules.get(&path).copied()
    }

    /// The number of parameters of the function at a path.
    pub(super) fn function_arity(&self, path: &[Item]) -> Option<usize> {
        let path: Option<Vec<&str>> = path
            .iter()
            .map(|item| match item {
                Item::String(text) => Some(&**text),
                _ => None,
            })
            .collect();
        self.rules.get(&path?).copied().filter(|arity| *arity > 0)
    }

    /// Reports calls of functions that do not exist, or with a wrong number of arguments.
    pub(super) fn check(&self, source: &Source, body: &[Step], deprecated: bool, errors: &mut Vec<Error>) {
        visit::steps(body, &mut |step| {
            if let StepKind::Call { callee, arguments } = &step.kind {
                self.check_call(source, step, callee, arguments.len(), errors);
                if deprecated
                    && let Callee::Builtin(name) = callee
                    && signature(name).is_some_and(|signature| signature.deprecated)
                {
                    let message = format!("deprecated built-in function calls in expression: {name}");
                    errors.push(Error::new(Code::Type, source, step.span, message));
                }
            }
        });
    }

    /// A function of the modules or a built-in one that is likely meant.
    fn similar(&self, name: &str) -> Option<String> {
        let last = |path: &[&str]| path.last().copied().unwrap_or_default().to_owned();
        let wanted = name.rsplit('.').next().unwrap_or_default();
        let mut own = self.rules.iter().filter(|(_, arity)| **arity > 0).map(|(path, _)| path);
        let own = own.find(|path| near(&last(path), wanted)).map(|path| last(path));
        own.or_else(|| similar_builtin(name).map(str::to_owned))
    }

    fn check_call(&self, source: &Source, step: &Step, callee: &Callee, given: usize, errors: &mut Vec<Error>) {
        if let Callee::Builtin(name) = callee
            && signature(name).is_some_and(|signature| signature.variadic.is_some())
        {
            return;
        }
        let name = match callee {
            Callee::Builtin(name) => (*name).to_owned(),
            Callee::Rule(path) => format!("data.{}", path.join(".")),
            Callee::Unknown(name) => name.clone(),
        };
        let arity = match callee {
            Callee::Rule(path) => self.rule(path).filter(|arity| *arity > 0 || given == usize::from(step.generated)),
            _ => self.arity(callee),
        };
        let Some(arity) = arity else {
            let mut error = Error::new(Code::Type, source, step.span, format!("undefined function {name}"));
            if let Some(similar) = self.similar(&name) {
                error = error.hint(format!("did you mean `{similar}`?"));
            }
            errors.push(error);
            return;
        };
        let fits = given == arity + 1 || !step.generated && given == arity;
        if fits {
            return;
        }
        let given = given - usize::from(step.generated && given > 0);
        let message = match callee {
            Callee::Builtin(_) => format!("{name}: arity mismatch: {arity} arguments expected, {given} given"),
            _ => {
                let plural = if given == 1 { "" } else { "s" };
                format!("function {name} has arity {arity}, got {given} argument{plural}")
            }
        };
        errors.push(Error::new(Code::Type, source, step.span, message));
    }
}

/// A built-in function whose name differs from `name` by one letter or by its package.
fn similar_builtin(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or("").to_owned();
    let names = || crate::builtins::signatures().iter().map(|signature| signature.name.as_str());
    let public = |candidate: &&str| !candidate.starts_with("internal.");
    names()
        .filter(public)
        .find(|candidate| near(candidate, name))
        .or_else(|| names().filter(public).find(|candidate| last(candidate) == last(name)))
}

/// Whether two names differ by one letter added, removed or changed.
fn near(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let end = a.iter().skip(start).rev().zip(b.iter().skip(start).rev()).take_while(|(a, b)| a == b).count();
    a.len().max(b.len()) - start - end <= 1
}
