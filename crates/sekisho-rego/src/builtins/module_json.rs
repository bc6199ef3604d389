//! `rego.parse_module`: a module as the JSON of OPA's syntax tree.

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::operand::string;
use crate::syntax::ast::{
    Body, Expr, ExprKind, Head, HeadKind, Import, Module, Name, RefPart, Rule, Term, TermKind, With,
};
use crate::syntax::{Options, parse_module};
use crate::value::{Number, Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[("rego.parse_module", parse)];

/// The longest module that is parsed.
const MAX_TEXT: usize = 1_000_000;

fn parse(cx: &mut Context, args: &[Value]) -> Outcome {
    let (file, text) = (string(args, 0)?, string(args, 1)?);
    cx.spend(text.len().saturating_mul(50))?;
    if text.len() > MAX_TEXT {
        return Err(failure("module is too long"));
    }
    let module = parse_module(file, text, Options::default()).map_err(|errors| {
        let one = |error: &crate::syntax::error::Error| {
            format!("{}:{}: {}: {}", error.file, error.span.line, error.code.as_str(), error.message)
        };
        failure(errors.iter().map(one).collect::<Vec<_>>().join("\n"))
    })?;
    let value = module_value(cx, &module)?;
    done(value)
}

/// A module as the JSON of OPA's syntax tree.
///
/// # Errors
/// Where the tree is too large.
pub(crate) fn module_json(module: &Module) -> Result<Value, BuiltinError> {
    module_value(&mut Context::new(0), module)
}

/// A query as the JSON of OPA's syntax tree.
///
/// # Errors
/// Where the tree is too large.
pub(crate) fn body_json(body: &Body) -> Result<Value, BuiltinError> {
    Writer { cx: &mut Context::new(0) }.body(Some(body))
}

fn object(members: Vec<(&str, Value)>) -> Value {
    Value::from(members.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Object>())
}

fn typed(kind: &str, value: Value) -> Value {
    object(vec![("type", Value::from(kind)), ("value", value)])
}

fn var(name: &str) -> Value {
    typed("var", Value::from(name))
}

fn text(text: &str) -> Value {
    typed("string", Value::from(text))
}

/// A reference by names, of which the first is a variable.
fn reference<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    Value::from(names.enumerate().map(|(at, name)| if at == 0 { var(name) } else { text(name) }).collect::<Vec<_>>())
}

fn module_value(cx: &mut Context, module: &Module) -> Result<Value, BuiltinError> {
    let path = std::iter::once("data").chain(module.package.path.iter().map(|name| &*name.text));
    let mut members = vec![("package", object(vec![("path", reference(path))]))];
    if !module.imports.is_empty() {
        members.push(("imports", Value::from(module.imports.iter().map(import).collect::<Vec<_>>())));
    }
    if !module.annotations.is_empty() {
        let all = module.annotations.iter().map(|annotation| annotation.value.clone()).collect::<Vec<_>>();
        members.push(("annotations", Value::from(all)));
    }
    if !module.rules.is_empty() {
        let mut writer = Writer { cx };
        let rules = module.rules.iter().map(|found| writer.rule(found)).collect::<Result<Vec<_>, _>>()?;
        members.push(("rules", Value::from(rules)));
    }
    Ok(object(members))
}

fn import(import: &Import) -> Value {
    let names = |path: &[Name]| reference(path.iter().map(|name| &*name.text));
    let mut members = vec![("path", typed("ref", names(&import.path)))];
    members.extend(import.alias.as_ref().map(|alias| ("alias", Value::from(&*alias.text))));
    object(members)
}

struct Writer<'a> {
    cx: &'a mut Context,
}

impl Writer<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<Value, BuiltinError> {
        let mut members = vec![("head", self.head(&rule.head)?), ("body", self.body(rule.body.as_ref())?)];
        if rule.default {
            members.push(("default", Value::from(true)));
        }
        let mut below = None;
        for other in rule.otherwise.iter().rev() {
            let mut head = vec![
                ("name", Value::from(&*rule.head.name.text)),
                ("value", self.optional(other.value.as_ref())?),
                ("ref", self.path(&rule.head.name, &rule.head.path)?),
            ];
            if other.assign {
                head.push(("assign", Value::from(true)));
            }
            let mut inner = vec![("head", object(head)), ("body", self.body(other.body.as_ref())?)];
            inner.extend(below.map(|below| ("else", below)));
            below = Some(object(inner));
        }
        members.extend(below.map(|below| ("else", below)));
        Ok(object(members))
    }

    /// A value, which is true if it is not written.
    fn optional(&mut self, term: Option<&Term>) -> Result<Value, BuiltinError> {
        term.map_or_else(|| Ok(typed("boolean", Value::from(true))), |term| self.term(term))
    }

    fn head(&mut self, head: &Head) -> Result<Value, BuiltinError> {
        let mut members = vec![("name", Value::from(&*head.name.text)), ("ref", self.path(&head.name, &head.path)?)];
        match &head.kind {
            HeadKind::Value(value) => members.push(("value", self.optional(value.as_ref())?)),
            HeadKind::Set { element, .. } => members.push(("key", self.term(element)?)),
            HeadKind::Function { parameters, value } => {
                members.push(("args", self.terms(parameters)?));
                members.push(("value", self.optional(value.as_ref())?));
            }
        }
        if head.assign {
            members.push(("assign", Value::from(true)));
        }
        Ok(object(members))
    }

    fn path(&mut self, name: &Name, rest: &[RefPart]) -> Result<Value, BuiltinError> {
        let mut parts = vec![var(&name.text)];
        for part in rest {
            parts.push(self.term(&part.term)?);
        }
        Ok(Value::from(parts))
    }

    fn body(&mut self, body: Option<&Body>) -> Result<Value, BuiltinError> {
        let Some(body) = body else {
            let truth = typed("boolean", Value::from(true));
            return Ok(Value::from(vec![object(vec![("index", Value::from(0_i64)), ("terms", truth)])]));
        };
        let exprs = body.exprs.iter().enumerate();
        Ok(Value::from(exprs.map(|(at, expr)| self.expr(at, expr)).collect::<Result<Vec<_>, _>>()?))
    }

    fn expr(&mut self, index: usize, expr: &Expr) -> Result<Value, BuiltinError> {
        let mut members = vec![("index", Value::from(index)), ("terms", self.expr_terms(&expr.kind)?)];
        if expr.negated {
            members.push(("negated", Value::from(true)));
        }
        if !expr.with.is_empty() {
            let with = expr.with.iter().map(|with| self.with(with)).collect::<Result<Vec<_>, _>>()?;
            members.push(("with", Value::from(with)));
        }
        Ok(object(members))
    }

    fn with(&mut self, with: &With) -> Result<Value, BuiltinError> {
        Ok(object(vec![("target", self.term(&with.target)?), ("value", self.term(&with.value)?)]))
    }

    fn expr_terms(&mut self, kind: &ExprKind) -> Result<Value, BuiltinError> {
        match kind {
            ExprKind::Term(term) => {
                let value = self.term(term)?;
                // A call stands as the list of its terms.
                match (&term.kind, value.get(&Value::from("value"))) {
                    (TermKind::Call { .. } | TermKind::Infix { .. } | TermKind::In { .. }, Some(parts)) => {
                        Ok(parts.clone())
                    }
                    _ => Ok(value),
                }
            }
            ExprKind::Assign(left, right) => self.call(operator("assign"), &[left, right]),
            ExprKind::Unify(left, right) => self.call(operator("eq"), &[left, right]),
            ExprKind::Some(names) => Ok(object(vec![("symbols", self.terms(names)?)])),
            ExprKind::SomeIn { key, value, collection } => {
                let member = self.member(key.as_deref(), value, collection)?;
                Ok(object(vec![("symbols", Value::from(vec![typed("call", member)]))]))
            }
            ExprKind::Every { key, value, domain, body } => {
                let key = key.as_deref().map_or(Ok(Value::Null), |key| self.term(key))?;
                Ok(object(vec![
                    ("key", key),
                    ("value", self.term(value)?),
                    ("domain", self.term(domain)?),
                    ("body", self.body(Some(body))?),
                ]))
            }
            ExprKind::Not(body) => Ok(object(vec![("body", self.body(Some(body))?)])),
            ExprKind::And(left, right) | ExprKind::Or(left, right) => {
                Ok(object(vec![("left", self.body(Some(left))?), ("right", self.body(Some(right))?)]))
            }
        }
    }

    /// The terms of a membership.
    fn member(&mut self, key: Option<&Term>, value: &Term, collection: &Term) -> Result<Value, BuiltinError> {
        match key {
            Some(key) => self.call(operator("internal.member_3"), &[key, value, collection]),
            None => self.call(operator("internal.member_2"), &[value, collection]),
        }
    }

    /// The terms of a call: the function and its arguments.
    fn call(&mut self, function: Value, arguments: &[&Term]) -> Result<Value, BuiltinError> {
        let mut parts = vec![function];
        for argument in arguments {
            parts.push(self.term(argument)?);
        }
        Ok(Value::from(parts))
    }

    fn terms(&mut self, terms: &[Term]) -> Result<Value, BuiltinError> {
        Ok(Value::from(terms.iter().map(|term| self.term(term)).collect::<Result<Vec<_>, _>>()?))
    }

    fn comprehension(&mut self, terms: Vec<(&str, Value)>, body: &Body) -> Result<Value, BuiltinError> {
        let mut members = terms;
        members.push(("body", self.body(Some(body))?));
        Ok(object(members))
    }

    fn term(&mut self, term: &Term) -> Result<Value, BuiltinError> {
        self.cx.spend(10)?;
        Ok(match &term.kind {
            TermKind::Null => typed("null", Value::empty_object()),
            TermKind::Bool(flag) => typed("boolean", Value::from(*flag)),
            TermKind::Number(number) => typed("number", Number::parse(number).map_or(Value::Null, Value::from)),
            TermKind::String { value, .. } => text(value),
            TermKind::Template { .. } => typed("templatestring", Value::Null),
            TermKind::Var(name) => var(name),
            TermKind::Wildcard(number) => var(&format!("${number}")),
            TermKind::Ref { head, path } => {
                let mut parts = vec![self.term(head)?];
                for part in path {
                    parts.push(self.term(&part.term)?);
                }
                typed("ref", Value::from(parts))
            }
            TermKind::Array(items) => typed("array", self.terms(items)?),
            TermKind::Set(items) => typed("set", self.terms(items)?),
            TermKind::Object(members) => {
                let pair = |(key, value): &(Term, Term)| Ok(Value::from(vec![self.term(key)?, self.term(value)?]));
                typed("object", Value::from(members.iter().map(pair).collect::<Result<Vec<_>, BuiltinError>>()?))
            }
            TermKind::ArrayComprehension { head, body } => {
                let head = self.term(head)?;
                typed("arraycomprehension", self.comprehension(vec![("term", head)], body)?)
            }
            TermKind::SetComprehension { head, body } => {
                let head = self.term(head)?;
                typed("setcomprehension", self.comprehension(vec![("term", head)], body)?)
            }
            TermKind::ObjectComprehension { key, value, body } => {
                let terms = vec![("key", self.term(key)?), ("value", self.term(value)?)];
                typed("objectcomprehension", self.comprehension(terms, body)?)
            }
            TermKind::Call { function, arguments } => {
                let function = match &function.kind {
                    TermKind::Var(name) => operator(name),
                    _ => self.term(function)?,
                };
                typed("call", self.call(function, &arguments.iter().collect::<Vec<_>>())?)
            }
            TermKind::Infix { op, left, right, .. } => {
                typed("call", self.call(operator(op.builtin()), &[left, right])?)
            }
            TermKind::In { key, value, collection } => typed("call", self.member(key.as_deref(), value, collection)?),
            TermKind::Minus(inner) => {
                let zero = typed("number", Value::from(0_i64));
                typed("call", Value::from(vec![operator("minus"), zero, self.term(inner)?]))
            }
        })
    }
}

/// The reference to a function by its dotted name.
fn operator(name: &str) -> Value {
    typed("ref", reference(name.split('.')))
}
