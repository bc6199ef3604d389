//! Queries whose expressions have values, as people ask them.

use std::sync::Arc;

use crate::api::{CompileError, Policy, Query};
use crate::builtins::Context;
use crate::eval::{EvalError, Limits, Tracer};
use crate::syntax::ast::{Body, Expr, ExprKind, Import, Span, Term, TermKind};
use crate::syntax::{Options, parse_query};
use crate::value::Value;

/// A query that gives the value of each of its expressions beside the values of its variables.
#[derive(Clone, Debug)]
pub struct Question {
    query: Query,
    /// By expression: its place, its text, and the variable that receives its value.
    expressions: Vec<(Span, String, Option<Arc<str>>)>,
}

/// One solution of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The expressions in their order.
    pub expressions: Vec<Expression>,
    /// The variables that the question names, by name.
    pub bindings: Vec<(Arc<str>, Value)>,
}

/// An expression of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The value; `true` for one that only holds.
    pub value: Value,
    /// The text as it was asked.
    pub text: String,
    /// The line, from 1.
    pub row: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Policy {
    /// Prepares a question. It sees the names of a package, given without `data`, and of imports.
    ///
    /// An expression alone may be false; of several, each has to hold.
    ///
    /// # Errors
    /// Where the text is not a query or its variables are not bound.
    pub fn ask(
        &self,
        text: &str,
        options: Options,
        package: &[Arc<str>],
        imports: &[Import],
    ) -> Result<Question, CompileError> {
        let mut body = parse_query("query", text, options).map_err(CompileError::Refused)?;
        // Errors are about what was asked, not about the variables below.
        self.body_query(text, &body, package, imports)?;
        let expressions = capture(&mut body, text);
        let query = self.body_query(text, &body, package, imports)?;
        Ok(Question { query, expressions })
    }
}

impl Question {
    /// All solutions. The context has the time, and receives what `print` and `trace` wrote; `tracer` hears what the
    /// evaluation does.
    ///
    /// # Errors
    /// Where evaluation fails; without strict errors, a failing built-in function is undefined instead.
    pub fn eval(
        &self,
        data: &Value,
        input: Option<&Value>,
        context: &mut Context,
        limits: &Limits,
        tracer: Option<&mut dyn Tracer>,
    ) -> Result<Vec<Answer>, EvalError> {
        let rows = self.query.eval_in(data, input, context, limits, tracer)?;
        let mut answers = Vec::with_capacity(rows.len());
        for row in rows {
            let value = |name: &Arc<str>| row.iter().find(|binding| binding.name == *name).map(|b| b.value.clone());
            let expression = |(span, text, name): &(Span, String, Option<Arc<str>>)| Expression {
                value: name.as_ref().and_then(value).unwrap_or(Value::Bool(true)),
                text: text.clone(),
                row: span.line,
                column: span.column,
            };
            let expressions = self.expressions.iter().map(expression).collect();
            let named = row.iter().filter(|binding| !binding.name.starts_with('$'));
            let mut bindings: Vec<_> = named.map(|binding| (binding.name.clone(), binding.value.clone())).collect();
            bindings.sort();
            answers.push(Answer { expressions, bindings });
        }
        Ok(answers)
    }
}

/// Gives each expression that has a value a variable of its own, whose name no text can have.
fn capture(body: &mut Body, text: &str) -> Vec<(Span, String, Option<Arc<str>>)> {
    let several = body.exprs.len() > 1;
    let mut shown = Vec::with_capacity(body.exprs.len());
    let mut exprs = Vec::with_capacity(body.exprs.len());
    for (at, mut expr) in std::mem::take(&mut body.exprs).into_iter().enumerate() {
        let span = expr.span;
        let mut name = None;
        // A call with a place for its result is a statement: it has no value of its own.
        let has_value = !expr.negated && !has_outputs(&expr);
        expr.kind = match (expr.kind, has_value) {
            (ExprKind::Term(term), true) => {
                let variable: Arc<str> = format!("$value{at}").into();
                name = Some(variable.clone());
                ExprKind::Unify(Term::new(span, TermKind::Var(variable)), term)
            }
            (kind, _) => kind,
        };
        exprs.push(expr);
        if let (Some(name), true) = (&name, several) {
            let kind = ExprKind::Term(Term::new(span, TermKind::Var(name.clone())));
            exprs.push(Expr { span, negated: false, kind, with: Vec::new() });
        }
        shown.push((span, span.text(text).to_owned(), name));
    }
    body.exprs = exprs;
    shown
}

/// Whether a call is written with one argument more than it takes, so that this one receives its result.
fn has_outputs(expr: &Expr) -> bool {
    let ExprKind::Term(Term { kind: TermKind::Call { function, arguments }, .. }) = &expr.kind else { return false };
    let name = function.dotted().unwrap_or_default();
    match name.as_str() {
        "print" | "trace" => true,
        name => crate::builtins::signature(name).is_some_and(|found| arguments.len() > found.arity()),
    }
}
