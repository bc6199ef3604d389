//! What `with` may replace.

use super::flat::{Base, FlatRule, Item, Modifier, Step};
use super::functions::Functions;
use super::tree::{Key, Tree};
use super::visit;
use crate::builtins::signature;
use crate::syntax::ast::Source;
use crate::syntax::error::{Code, Error};

/// Checks the modifiers of a body.
pub(super) fn check(
    source: &Source,
    body: &[Step],
    tree: &Tree,
    rules: &[FlatRule],
    functions: &Functions<'_>,
    errors: &mut Vec<Error>,
) {
    let checker = Checker { tree, rules, functions };
    visit::steps(body, &mut |step| {
        // A step taken out of an expression has the modifiers of that expression.
        if step.generated {
            return;
        }
        for with in &step.with {
            if let Err((code, message)) = checker.modifier(with) {
                errors.push(Error::new(code, source, with.target_span, message));
            }
        }
    });
}

struct Checker<'a> {
    tree: &'a Tree,
    rules: &'a [FlatRule],
    functions: &'a Functions<'a>,
}

impl Checker<'_> {
    fn modifier(&self, with: &Modifier) -> Result<(), (Code, String)> {
        match &with.target {
            Item::Ref(Base::Input, _) => return Ok(()),
            Item::Ref(Base::Data, path) => self.data_target(path)?,
            Item::Function(name) => builtin_target(name)?,
            _ => {
                let message = "with keyword target must reference existing input, data, or a function";
                return Err((Code::Type, message.to_owned()));
            }
        }
        let Some((name, wanted)) = self.function(&with.target) else { return Ok(()) };
        match self.function(&with.value) {
            Some((_, given)) if given != wanted => {
                let message =
                    format!("{name}: arity mismatch: {wanted} arguments expected, the replacement has {given}");
                Err((Code::Type, message))
            }
            _ => Ok(()),
        }
    }

    /// The name of a function and the number of its arguments.
    fn function(&self, item: &Item) -> Option<(String, usize)> {
        match item {
            Item::Function(name) => {
                let signature = signature(name).filter(|signature| signature.variadic.is_none())?;
                Some(((*name).to_owned(), signature.arity()))
            }
            Item::Ref(Base::Data, path) => {
                let arity = self.functions.function_arity(path)?;
                let names: Vec<&str> = path.iter().filter_map(text).collect();
                Some((format!("data.{}", names.join(".")), arity))
            }
            _ => None,
        }
    }

    /// A part of a rule's value cannot be replaced.
    fn data_target(&self, path: &[Item]) -> Result<(), (Code, String)> {
        let mut at = 0;
        for item in path.iter().take(path.len().saturating_sub(1)) {
            let Some(child) = Key::of(item).and_then(|key| self.tree.child(at, &key)) else { break };
            let rules = self.tree.node(child).map(|node| node.rules.as_slice()).unwrap_or_default();
            if rules.iter().any(|index| self.rules.get(*index).is_some()) {
                let message = "with keyword cannot partially replace virtual document(s)";
                return Err((Code::Compile, message.to_owned()));
            }
            at = child;
        }
        Ok(())
    }
}

fn text(item: &Item) -> Option<&str> {
    match item {
        Item::String(text) => Some(text),
        _ => None,
    }
}

fn builtin_target(name: &str) -> Result<(), (Code, String)> {
    let start = "with keyword replacing built-in function:";
    if matches!(name, "eq" | "rego.metadata.chain" | "rego.metadata.rule") {
        return Err((Code::Compile, format!("{start} replacement of \"{name}\" invalid")));
    }
    if name.starts_with("internal.") {
        return Err((Code::Compile, format!("{start} replacement of internal function \"{name}\" invalid")));
    }
    let Some(signature) = signature(name) else { return Ok(()) };
    if signature.relation {
        return Err((Code::Compile, format!("{start} target must not be a relation")));
    }
    if signature.result.is_none() {
        return Err((Code::Compile, format!("{start} target must not be a void function")));
    }
    Ok(())
}
