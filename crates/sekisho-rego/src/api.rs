//! Modules in, decisions out.

use std::sync::Arc;

use crate::builtins::Context;
use crate::check;
use crate::eval::{self, Coverage, EvalError, Limits, Trace, Tracer};
use crate::program::{self, Program, ProgramError, Registry, RuleSetId};
use crate::syntax::ast::{Body, Import, Module, Source, Version};
use crate::syntax::forms::Forms;
use crate::syntax::{self, Options, error};
use crate::value::Value;

/// Why modules or a query were refused.
#[derive(Clone, Debug)]
pub enum CompileError {
    /// The texts are not of the language, or the checker refuses them.
    Refused(Vec<error::Error>),
    /// They cannot be lowered.
    Lowering(Vec<ProgramError>),
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = match self {
            CompileError::Refused(errors) => errors.iter().map(error::Error::render).collect(),
            CompileError::Lowering(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for CompileError {}

/// Collects modules.
#[derive(Debug, Default)]
pub struct Compiler {
    options: Options,
    checks: check::Options,
    schemas: check::Schemas,
    prints: bool,
    modules: Vec<Module>,
}

impl Compiler {
    /// A compiler of modules in the current version of the language.
    #[must_use]
    pub fn new() -> Compiler {
        Compiler::default()
    }

    /// The version in which the following modules are written.
    #[must_use]
    pub fn version(mut self, version: Version) -> Compiler {
        self.options.version = version;
        self
    }

    /// How the following modules are read.
    #[must_use]
    pub fn options(mut self, options: Options) -> Compiler {
        self.options = options;
        self
    }

    /// Adds a module.
    ///
    /// # Errors
    /// Where the text is not a module.
    pub fn module(mut self, name: &str, text: &str) -> Result<Compiler, CompileError> {
        self.modules.push(syntax::parse_module(name, text, self.options).map_err(CompileError::Refused)?);
        Ok(self)
    }

    /// Adds a module that is parsed already.
    #[must_use]
    pub fn parsed(mut self, module: Module) -> Compiler {
        self.modules.push(module);
        self
    }

    /// Whether `print` is evaluated; its lines go to [`Context::printed`]. Else it is left out.
    #[must_use]
    pub fn prints(mut self, prints: bool) -> Compiler {
        self.prints = prints;
        self
    }

    /// How the modules are checked.
    #[must_use]
    pub fn checks(mut self, checks: check::Options) -> Compiler {
        self.checks = checks;
        self
    }

    /// The schemas that annotations of the modules refer to.
    #[must_use]
    pub fn schemas(mut self, schemas: check::Schemas) -> Compiler {
        self.schemas = schemas;
        self
    }

    /// Makes a policy of the modules.
    ///
    /// # Errors
    /// Where the modules contradict each other or the language.
    pub fn compile(self) -> Result<Policy, CompileError> {
        let forms = Forms::new(&self.modules);
        check::check_forms(&self.modules, &forms, self.checks, &self.schemas).map_err(CompileError::Refused)?;
        let (program, registry) =
            program::compile(&self.modules, &forms, self.prints).map_err(CompileError::Lowering)?;
        Ok(Policy { inner: Arc::new(Inner { program, registry, forms, modules: self.modules }) })
    }
}

#[derive(Debug)]
struct Inner {
    program: Program,
    registry: Registry,
    forms: Forms,
    modules: Vec<Module>,
}

/// Compiled modules, ready for queries. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Policy {
    inner: Arc<Inner>,
}

/// One solution of a query: its variables by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The name in the query.
    pub name: Arc<str>,
    /// Its value.
    pub value: Value,
    /// Whether the query declares the name by `:=` or `some`.
    pub declared: bool,
}

/// A query against a policy.
#[derive(Clone, Debug)]
pub struct Query {
    inner: Arc<Inner>,
    query: Arc<program::Query>,
}

/// One document that rules define.
#[derive(Clone, Debug)]
pub struct Document {
    inner: Arc<Inner>,
    set: RuleSetId,
}

impl Policy {
    /// The modules, in their order.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.inner.modules
    }

    /// The number of the first rule of a module that has the form of this one: they differ at most in constants that
    /// are compared or given to functions. Default rules and rules of annotated modules are like no other.
    #[must_use]
    pub fn first_alike(&self, module: usize, rule: usize) -> usize {
        self.inner.forms.first(module, rule)
    }

    /// Prepares a query.
    ///
    /// # Errors
    /// Where the text is not a body or its variables are not bound.
    pub fn query(&self, text: &str) -> Result<Query, CompileError> {
        self.query_in(text, Options::default(), &[], &[])
    }

    /// Prepares a query that sees the names of a package, given without `data`, and of imports.
    ///
    /// # Errors
    /// Where the text is not a body or its variables are not bound.
    pub fn query_in(
        &self,
        text: &str,
        options: Options,
        package: &[Arc<str>],
        imports: &[Import],
    ) -> Result<Query, CompileError> {
        let body = syntax::parse_query("query", text, options).map_err(CompileError::Refused)?;
        self.body_query(text, &body, package, imports)
    }

    /// Prepares a query that is parsed already, from this text.
    pub(crate) fn body_query(
        &self,
        text: &str,
        body: &Body,
        package: &[Arc<str>],
        imports: &[Import],
    ) -> Result<Query, CompileError> {
        let source = Source { file: "query".into(), text: text.into() };
        check::check_query(&self.inner.modules, &source, body, package, imports).map_err(CompileError::Refused)?;
        let keys: Vec<Value> = package.iter().map(|name| Value::from(&**name)).collect();
        let query = program::compile_query(&self.inner.registry, &source, body, &keys, imports);
        let query = query.map_err(|error| CompileError::Lowering(vec![error]))?;
        Ok(Query { inner: self.inner.clone(), query: Arc::new(query) })
    }

    /// The document at a path of data, without `data` itself; none where no rule defines it.
    #[must_use]
    pub fn document(&self, path: &[&str]) -> Option<Document> {
        let path: Vec<Value> = path.iter().map(|name| Value::from(*name)).collect();
        let set = self.inner.program.find(&path)?;
        Some(Document { inner: self.inner.clone(), set })
    }
}

/// The documents that a query depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Documents of the input and of data that no rule defines, as references: `input.user`.
    pub base: Vec<Vec<Value>>,
    /// Documents and functions that rules define: `data.a.allow`.
    pub rules: Vec<Vec<Value>>,
}

impl Query {
    /// The program, and the query as steps.
    pub(crate) fn parts(&self) -> (&Program, &program::Query) {
        (&self.inner.program, &self.query)
    }

    /// The documents that the query depends on, each as the elements of a reference.
    #[must_use]
    pub fn dependencies(&self) -> Dependencies {
        let uses = self.inner.program.uses(&self.query);
        let reference =
            |root: &str, path: Vec<Value>| std::iter::once(Value::from(root)).chain(path).collect::<Vec<_>>();
        let data = uses.data.into_iter().map(|path| reference("data", path));
        let base = data.chain(uses.input.into_iter().map(|path| reference("input", path))).collect();
        Dependencies { base, rules: uses.rules.into_iter().map(|path| reference("data", path)).collect() }
    }

    /// All solutions. `now` is the time in nanoseconds since 1970.
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
        self.eval_in(data, input, &mut Context::new(now), limits, None)
    }

    /// All solutions; the context has the time, and receives what `print` and `trace` wrote. `tracer` hears what the
    /// evaluation does.
    ///
    /// # Errors
    /// Where evaluation fails; without strict errors, a failing built-in function is undefined instead.
    pub fn eval_in(
        &self,
        data: &Value,
        input: Option<&Value>,
        context: &mut Context,
        limits: &Limits,
        tracer: Option<&mut dyn Tracer>,
    ) -> Result<Vec<Vec<Binding>>, EvalError> {
        let rows = eval::run_query(&self.inner.program, &self.query, data, input, context, limits, tracer)?;
        let binding = |(name, value, declared)| Binding { name, value, declared };
        Ok(rows.into_iter().map(|row| row.into_iter().map(binding).collect()).collect())
    }
}

impl Document {
    /// The value; none where it is undefined. `now` is the time in nanoseconds since 1970.
    ///
    /// # Errors
    /// Where evaluation fails; without strict errors, a failing built-in function is undefined instead.
    pub fn eval(
        &self,
        data: &Value,
        input: Option<&Value>,
        now: i64,
        limits: &Limits,
    ) -> Result<Option<Value>, EvalError> {
        self.eval_in(data, input, &mut Context::new(now), limits, None)
    }

    /// The value; the context has the time, and keeps for a further evaluation what it learned. `coverage` receives the
    /// places at which steps were executed.
    ///
    /// # Errors
    /// Where evaluation fails; without strict errors, a failing built-in function is undefined instead.
    pub fn eval_in(
        &self,
        data: &Value,
        input: Option<&Value>,
        context: &mut Context,
        limits: &Limits,
        coverage: Option<&mut Coverage>,
    ) -> Result<Option<Value>, EvalError> {
        eval::run_rule(&self.inner.program, self.set, data, input, context, limits, coverage)
    }

    /// The value as [`Document::eval_in`] gives it; `tracer` hears what the evaluation does.
    ///
    /// # Errors
    /// Where evaluation fails; without strict errors, a failing built-in function is undefined instead.
    pub fn trace(
        &self,
        data: &Value,
        input: Option<&Value>,
        context: &mut Context,
        limits: &Limits,
        tracer: &mut dyn Tracer,
    ) -> Result<Option<Value>, EvalError> {
        eval::trace_rule(&self.inner.program, self.set, data, input, context, limits, tracer)
    }

    /// The value as [`Document::eval_in`] gives it, and which rules were considered, with the condition of each that
    /// failed. All rules are tried, also those that the index would leave out.
    pub fn explain(
        &self,
        data: &Value,
        input: Option<&Value>,
        context: &mut Context,
        limits: &Limits,
    ) -> (Result<Option<Value>, EvalError>, Trace) {
        eval::explain_rule(&self.inner.program, self.set, data, input, context, limits)
    }
}
