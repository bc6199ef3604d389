//! What a partial evaluation leaves.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::print;
use super::support::SupportRule;
use super::term::{Literal, Var};
use crate::api::{Binding, CompileError, Compiler, Policy, Query};
use crate::eval::{EvalError, Limits};
use crate::syntax::Options;
use crate::syntax::format::format;
use crate::value::Value;

/// What remains of a query: it holds where all literals of one of the bodies do.
#[derive(Clone, Debug)]
pub struct Residual {
    bodies: Vec<Vec<Literal>>,
    names: BTreeMap<Var, Arc<str>>,
    rules: Vec<SupportRule>,
    modules: bool,
    prefix: String,
}

/// A residual that is compiled again.
#[derive(Clone, Debug)]
pub struct Resumed {
    queries: Vec<Query>,
}

impl Residual {
    pub(super) fn new(
        mut bodies: Vec<Vec<Literal>>,
        names: BTreeMap<Var, Arc<str>>,
        rules: Vec<SupportRule>,
        modules: bool,
        prefix: String,
    ) -> Residual {
        let mut seen = HashSet::new();
        bodies.retain(|body| seen.insert(print::query(body, &names, &prefix)));
        Residual { bodies, names, rules, modules, prefix }
    }

    /// The bodies, in the order in which they are asked. None: the query never holds. An empty one: it always does.
    #[must_use]
    pub fn bodies(&self) -> &[Vec<Literal>] {
        &self.bodies
    }

    /// Whether the query holds whatever the unknowns come to.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.bodies.iter().any(Vec::is_empty)
    }

    /// Whether the query never holds.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.bodies.is_empty()
    }

    /// The name that the query gives a variable.
    #[must_use]
    pub fn name(&self, var: Var) -> Option<&str> {
        self.names.get(&var).map(|name| &**name)
    }

    /// The support rules.
    #[must_use]
    pub fn support(&self) -> &[SupportRule] {
        &self.rules
    }

    /// Whether the residual also reads documents of the modules that were evaluated.
    #[must_use]
    pub fn reads_modules(&self) -> bool {
        self.modules
    }

    /// Each body as Rego: one expression a line; `true` for one that always holds.
    #[must_use]
    pub fn queries(&self) -> Vec<String> {
        let text = |body: &Vec<Literal>| match body.is_empty() {
            true => "true".to_owned(),
            false => print::query(body, &self.names, &self.prefix).join("\n"),
        };
        self.bodies.iter().map(text).collect()
    }

    /// The support rules as modules of Rego: name and formatted text. The modules that were evaluated are not among
    /// them, even where [`Residual::reads_modules`].
    #[must_use]
    pub fn modules(&self) -> Vec<(String, String)> {
        let named = |(at, (_, text)): (usize, (Vec<Value>, String))| {
            let name = format!("support{}.rego", at + 1);
            let text = format(&name, &text, Options::default()).unwrap_or(text);
            (name, text)
        };
        print::modules(&self.rules, &self.prefix).into_iter().enumerate().map(named).collect()
    }

    /// Compiles the residual, so that it can be evaluated once the unknowns are known. `policy` is the one that was
    /// evaluated.
    ///
    /// # Errors
    /// Where the residual is not accepted, which is a fault of this engine.
    pub fn resume(&self, policy: &Policy) -> Result<Resumed, CompileError> {
        let untyped = crate::check::Options { untyped: true, ..crate::check::Options::default() };
        let mut compiler = Compiler::new().checks(untyped);
        if self.modules {
            compiler = policy.modules().iter().cloned().fold(compiler, Compiler::parsed);
        }
        for (at, (_, text)) in print::modules(&self.rules, &self.prefix).into_iter().enumerate() {
            compiler = compiler.module(&format!("support{}.rego", at + 1), &text)?;
        }
        let compiled = compiler.compile()?;
        let queries = self.queries().iter().map(|text| compiled.query(text)).collect::<Result<_, _>>()?;
        Ok(Resumed { queries })
    }
}

impl Resumed {
    /// The solutions of the bodies, in their order. `now` is the time in nanoseconds since 1970.
    ///
    /// # Errors
    /// Where evaluation fails; without strict errors, a failing built-in function is undefined instead.
    pub fn eval(
        &self,
        data: &Value,
        input: Option<&Value>,
        now: i64,
        limits: &Limits,
    ) -> Result<Vec<Vec<Binding>>, EvalError> {
        let mut rows = Vec::new();
        for query in &self.queries {
            rows.extend(query.eval(data, input, now, limits)?);
        }
        Ok(rows)
    }
}
