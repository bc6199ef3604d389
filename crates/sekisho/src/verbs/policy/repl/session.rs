//! What was entered so far, and what a further line does.

use std::sync::Arc;

use sekisho_policy::Secrets;
use sekisho_rego::builtins::Context;
use sekisho_rego::syntax::ast::{ExprKind, HeadKind, Import, Module, Rule};
use sekisho_rego::syntax::{Options, WordKind, format, parse_module, parse_query, words};
use sekisho_rego::tracers::{Detail, Explanation, Profiler, Several};
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Limits, Policy};
use sekisho_runtime::instant;

use super::super::reports;
use super::super::workspace::nanos;
use super::super::{answers, deps};
use super::commands::{self, Command};
use super::complete::Names;
use crate::exit::Failure;
use crate::output::printable;

/// Expressions that a profile shows.
const PROFILED: usize = 10;

/// What a line came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    Wrong(String),
    /// The statement goes on.
    More,
    Exit,
}

/// A rule as it was entered.
#[derive(Clone)]
struct Entered {
    name: String,
    text: String,
}

pub(super) struct Session {
    /// Those of files.
    modules: Vec<Module>,
    data: Value,
    input: Option<Value>,
    package: String,
    imports: Vec<String>,
    rules: Vec<Entered>,
    policy: Policy,
    own: Own,
    waiting: String,
    json: bool,
    trace: Option<Detail>,
    profile: bool,
    metrics: bool,
    clock: Box<dyn Fn() -> i64>,
}

/// The names that queries see.
#[derive(Clone, Default)]
struct Own {
    package: Vec<Arc<str>>,
    imports: Vec<Import>,
}

fn options() -> Options {
    Options { whole_negation: true, ..Options::default() }
}

impl Session {
    pub(super) fn new(
        modules: Vec<Module>,
        data: Value,
        input: Option<Value>,
        clock: Box<dyn Fn() -> i64>,
    ) -> Result<Self, Failure> {
        let package = "repl".to_owned();
        let (policy, own) = compile(&modules, &package, &[], &[]).map_err(Failure::failed)?;
        let (imports, rules, waiting) = (Vec::new(), Vec::new(), String::new());
        let (json, trace, profile, metrics) = (false, None, false, false);
        let session = Self {
            modules,
            data,
            input,
            package,
            imports,
            rules,
            policy,
            own,
            waiting,
            json,
            trace,
            profile,
            metrics,
            clock,
        };
        Ok(session)
    }

    /// A further line. An empty one ends a statement that would go on.
    pub(super) fn line(&mut self, line: &str) -> Reply {
        if self.waiting.is_empty() {
            let is_rule = |name: &str| self.rules.iter().any(|rule| rule.name == name);
            match commands::read(line, is_rule) {
                Some(Ok(Command::Exit)) => return Reply::Exit,
                Some(Ok(command)) => return reply(self.command(command)),
                Some(Err(message)) => return Reply::Wrong(message),
                None => {}
            }
        }
        let ends = line.trim().is_empty();
        self.waiting.push_str(line);
        self.waiting.push('\n');
        if !ends && is_open(&self.waiting) {
            return Reply::More;
        }
        self.end()
    }

    /// Evaluates what waits for its end.
    pub(super) fn end(&mut self) -> Reply {
        let text = std::mem::take(&mut self.waiting);
        match text.trim() {
            "" => Reply::Text(String::new()),
            text => reply(self.statement(text)),
        }
    }

    /// Forgets a statement that is not at its end.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// What the tabulator completes.
    pub(super) fn names(&self) -> Names {
        let mut names: Vec<String> = commands::WORDS.map(str::to_owned).to_vec();
        names.extend(self.rules.iter().map(|rule| rule.name.clone()));
        let builtins = sekisho_rego::builtins::signatures().iter().map(|found| found.name.clone());
        names.extend(builtins.filter(|name| !name.starts_with("internal.")));
        for module in self.policy.modules() {
            let path = module.package.path.iter().map(|name| Value::from(&*name.text));
            let path: Vec<Value> = std::iter::once(Value::from("data")).chain(path).collect();
            for rule in &module.rules {
                let name = [path.as_slice(), &[Value::from(&*rule.head.name.text)]].concat();
                names.push(deps::reference(&name));
            }
        }
        names.sort();
        names.dedup();
        Names(names)
    }

    fn command(&mut self, command: Command) -> Result<String, String> {
        match command {
            Command::Help => return Ok(commands::help()),
            Command::Show => {
                let text = module_text(&self.package, &self.imports, &self.rules);
                let shown = format::format("repl", &text, options()).unwrap_or(text);
                return Ok(shown.trim_end().to_owned());
            }
            Command::Dump => return Ok(answers::pretty(&self.data)),
            Command::Json(json) => self.json = json,
            Command::Trace(detail) => self.trace = detail,
            Command::Toggle(detail) => self.trace = (self.trace != Some(detail)).then_some(detail),
            Command::Profile => self.profile = !self.profile,
            Command::Metrics => self.metrics = !self.metrics,
            Command::Unset(name) => return self.unset(&name),
            Command::Package(path) => self.change(path, Vec::new(), Vec::new())?,
            Command::Import(reference) => {
                let mut imports = self.imports.clone();
                imports.push(reference);
                self.change(self.package.clone(), imports, self.rules.clone())?;
            }
            Command::Exit => {}
        }
        Ok(String::new())
    }

    fn unset(&mut self, name: &str) -> Result<String, String> {
        if name == "input" {
            self.input = None;
            return Ok(String::new());
        }
        let binds = |import: &&String| import.rsplit(['.', ' ']).next() != Some(name);
        let imports: Vec<String> = self.imports.iter().filter(binds).cloned().collect();
        let rules: Vec<Entered> = self.rules.iter().filter(|rule| rule.name != name).cloned().collect();
        if imports.len() == self.imports.len() && rules.len() == self.rules.len() {
            return Err(format!("no rule and no import is named `{name}`: `show` prints those there are"));
        }
        self.change(self.package.clone(), imports, rules)?;
        Ok(String::new())
    }

    /// Takes a package, imports and rules if they compile; else all stays as it was.
    fn change(&mut self, package: String, imports: Vec<String>, rules: Vec<Entered>) -> Result<(), String> {
        let (policy, own) = compile(&self.modules, &package, &imports, &rules)?;
        (self.policy, self.own) = (policy, own);
        (self.package, self.imports, self.rules) = (package, imports, rules);
        Ok(())
    }

    fn statement(&mut self, text: &str) -> Result<String, String> {
        if let Some(term) = assigned_input(text) {
            self.input = Some(self.value(&term)?);
            return Ok(String::new());
        }
        let entered = entered(text);
        let known = |name: &str| self.rules.iter().any(|rule| rule.name == name);
        match entered {
            Some((rules, unifies)) if !(unifies && rules.iter().all(|rule| known(&rule.name))) => {
                self.define(rules, text)
            }
            _ => self.ask(text),
        }
    }

    fn define(&mut self, new: Vec<Entered>, text: &str) -> Result<String, String> {
        let replaces = is_assignment(text);
        let stays = |rule: &&Entered| !(replaces && new.iter().any(|other| other.name == rule.name));
        let mut rules: Vec<Entered> = self.rules.iter().filter(stays).cloned().collect();
        let replaced = rules.len() < self.rules.len();
        rules.extend(new.iter().cloned());
        self.change(self.package.clone(), self.imports.clone(), rules)?;
        let mut names: Vec<&str> = new.iter().map(|rule| rule.name.as_str()).collect();
        names.dedup();
        let verb = if replaced { "replaced in" } else { "added to" };
        Ok(format!("{} {verb} package {}", names.join(", "), self.package))
    }

    /// The value of a term that stands alone.
    fn value(&self, term: &str) -> Result<Value, String> {
        let question = self.policy.ask(term, options(), &self.own.package, &self.own.imports);
        let question = question.map_err(|error| error.to_string())?;
        let (mut context, limits) = (Context::new((self.clock)()), Limits::default());
        let found = question.eval(&self.data, self.input.as_ref(), &mut context, &limits, None);
        let found = found.map_err(|error| error.to_string())?;
        let value = found.into_iter().next().and_then(|answer| answer.expressions.into_iter().next());
        value.map(|found| found.value).ok_or_else(|| "the value is undefined".to_owned())
    }

    fn ask(&self, text: &str) -> Result<String, String> {
        let question = self.policy.ask(text, options(), &self.own.package, &self.own.imports);
        let question = question.map_err(|error| error.to_string())?;
        let secrets = self.input.as_ref().map(Secrets::of).unwrap_or_default();
        let start = instant();
        let clock = || nanos(start);
        let (mut explanation, mut profiler) =
            (self.trace.map(Explanation::new), self.profile.then(|| Profiler::new(&clock)));
        let mut several = Several::new();
        explanation.iter_mut().for_each(|tracer| several.add(tracer));
        profiler.iter_mut().for_each(|tracer| several.add(tracer));
        let (mut context, limits) = (Context::new((self.clock)()), Limits::default());
        let found = question.eval(&self.data, self.input.as_ref(), &mut context, &limits, Some(&mut several));
        let took = nanos(start);
        let mut parts: Vec<String> = Vec::new();
        if let Some(explanation) = &explanation {
            let lines = explanation.lines(self.policy.modules(), text);
            parts.push(reports::trace(&lines, explanation.omitted(), &secrets));
        }
        parts.extend(context.printed.iter().map(|line| printable(&secrets.hide(line))));
        let found = found.map_err(|error| [parts.join("\n"), error.to_string()].join("\n").trim().to_owned())?;
        parts.push(if self.json { json_text(&found) } else { answers::text(&found) });
        if let Some(profiler) = &mut profiler {
            let mut rows = profiler.report(self.policy.modules(), text, &[]);
            rows.truncate(PROFILED);
            parts.push(reports::profile(&rows));
        }
        if self.metrics {
            parts.push(reports::metrics(&[("timer_rego_query_eval_ns", took)]));
        }
        parts.retain(|part| !part.is_empty());
        Ok(parts.join("\n"))
    }
}

fn json_text(found: &[sekisho_rego::Answer]) -> String {
    serde_json::to_string_pretty(&answers::json(found)).unwrap_or_default()
}

fn reply(result: Result<String, String>) -> Reply {
    result.map_or_else(Reply::Wrong, Reply::Text)
}

/// Whether a bracket of the text is open, or a text between backquotes.
fn is_open(text: &str) -> bool {
    let mut depth = 0i64;
    for word in words(text).iter().filter(|word| word.kind == WordKind::Sign) {
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    depth > 0 || text.matches('`').count() % 2 == 1
}

/// The term of `input := term`.
fn assigned_input(text: &str) -> Option<String> {
    let body = parse_query("query", text, options()).ok()?;
    match body.exprs.as_slice() {
        [expr] => match &expr.kind {
            ExprKind::Assign(left, right) if left.as_var().is_some_and(|name| &**name == "input") => {
                Some(right.span.text(text).to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

/// The rules of a text, if it is rules and not a query; and whether it is one that could be a query by `=`.
fn entered(text: &str) -> Option<(Vec<Entered>, bool)> {
    let source = format!("package repl\n{text}\n");
    let module = parse_module("repl", &source, options()).ok()?;
    let defines = |rule: &Rule| rule.default || rule.body.is_some() || rule.head.value().is_some() || is_set(rule);
    if module.rules.is_empty() || !module.rules.iter().all(defines) || !module.imports.is_empty() {
        return None;
    }
    let entry =
        |rule: &Rule| Entered { name: rule.head.name.text.to_string(), text: rule.span.text(&source).to_owned() };
    let unifies =
        module.rules.iter().all(|rule| !rule.default && rule.body.is_none() && !rule.head.assign && !is_set(rule));
    let own = module.rules.iter().filter(|rule| !rule.chained);
    Some((own.map(entry).collect(), unifies))
}

const fn is_set(rule: &Rule) -> bool {
    matches!(rule.head.kind, HeadKind::Set { .. })
}

/// Whether a text is one rule `name := value`.
fn is_assignment(text: &str) -> bool {
    let Ok(body) = parse_query("query", text, options()) else { return false };
    let assigns = |kind: &ExprKind| matches!(kind, ExprKind::Assign(left, _) if left.as_var().is_some());
    matches!(body.exprs.as_slice(), [expr] if assigns(&expr.kind))
}

fn module_text(package: &str, imports: &[String], rules: &[Entered]) -> String {
    let imports: String = imports.iter().map(|import| format!("import {import}\n")).collect();
    let rules: Vec<&str> = rules.iter().map(|rule| rule.text.as_str()).collect();
    format!("package {package}\n\n{imports}\n{}\n", rules.join("\n\n"))
}

fn compile(modules: &[Module], package: &str, imports: &[String], rules: &[Entered]) -> Result<(Policy, Own), String> {
    let text = module_text(package, imports, rules);
    let errors = |errors: Vec<sekisho_rego::syntax::error::Error>| {
        errors.iter().map(sekisho_rego::syntax::error::Error::render).collect::<Vec<_>>().join("\n")
    };
    let module = parse_module("repl", &text, options()).map_err(errors)?;
    let own = Own {
        package: module.package.path.iter().map(|name| name.text.clone()).collect(),
        imports: module.imports.clone(),
    };
    let all = modules.iter().cloned().chain([module]);
    let compiler = all.fold(Compiler::new().prints(true), Compiler::parsed);
    let policy = compiler.compile().map_err(|error| error.to_string())?;
    Ok((policy, own))
}
