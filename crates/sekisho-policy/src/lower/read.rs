//! From the engine's syntax tree to conditions.

use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead};

use super::Stated;
use super::condition::{Comparison, Condition};
use super::term::{Path, Term, whole};

pub(super) type Bindings = BTreeMap<String, Ref<Expr>>;

/// Rules that only give a value a name, and are alone in doing so: `workload_id := input.subject.spiffe_id`.
pub(super) fn bindings(modules: &[&Ref<Module>]) -> Bindings {
    let mut named = BTreeMap::<String, Option<Ref<Expr>>>::new();
    for rule in modules.iter().flat_map(|module| &module.policy) {
        let (refr, value) = match &**rule {
            Rule::Default { refr, .. } => (refr, None),
            Rule::Spec { head: RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. }, .. } => (refr, None),
            Rule::Spec { head: RuleHead::Compr { refr, assign, .. }, bodies, .. } => {
                let unconditional = bodies.iter().all(|body| body.query.stmts.is_empty() && !body.is_else);
                (refr, assign.as_ref().filter(|_| unconditional).map(|assign| assign.value.clone()))
            }
        };
        let path = reference(refr).unwrap_or_default();
        let Some((name, rest)) = path.split_first() else { continue };
        let value = value.filter(|_| rest.is_empty() && name != "allow");
        named.entry(name.clone()).and_modify(|known| *known = None).or_insert(value);
    }
    named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

pub(super) fn stated(statement: &LiteralStmt, bindings: &Bindings) -> Stated {
    let condition = match &statement.literal {
        _ if !statement.with_mods.is_empty() => None,
        Literal::Expr { expr, .. } => condition(expr, bindings),
        Literal::NotExpr { expr, .. } => condition(expr, bindings).map(|inner| Condition::Not(Box::new(inner))),
        _ => None,
    };
    let text = source_text(statement).split_whitespace().collect::<Vec<_>>().join(" ");
    Stated { line: statement.span.line, text, condition: condition.unwrap_or(Condition::Opaque), number: 0 }
}

/// A statement as its author wrote it. The engine's span leaves out the quote that closes a last text.
fn source_text(statement: &LiteralStmt) -> &str {
    let contents = statement.span.source.contents();
    let (start, end) = (statement.span.start as usize, statement.span.end as usize);
    let closed = contents.as_bytes().get(end).is_some_and(|byte| matches!(byte, b'"' | b'`'));
    contents.get(start..end + usize::from(closed)).unwrap_or_else(|| statement.span.text())
}

fn condition(expr: &Expr, bindings: &Bindings) -> Option<Condition> {
    match expr {
        Expr::BoolExpr { op, lhs, rhs, .. } => {
            let op = match op {
                BoolOp::Lt => Comparison::Less,
                BoolOp::Le => Comparison::LessEqual,
                BoolOp::Eq => Comparison::Equal,
                BoolOp::Ge => Comparison::GreaterEqual,
                BoolOp::Gt => Comparison::Greater,
                BoolOp::Ne => Comparison::NotEqual,
            };
            Some(Condition::Compare { op, left: term(lhs, bindings, 0)?, right: term(rhs, bindings, 0)? })
        }
        // `=` unifies; between terms that are all known it compares.
        Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => Some(Condition::Compare {
            op: Comparison::Equal,
            left: term(lhs, bindings, 0)?,
            right: term(rhs, bindings, 0)?,
        }),
        Expr::Membership { key: None, value, collection, .. } => {
            Some(Condition::Member { item: term(value, bindings, 0)?, of: term(collection, bindings, 0)? })
        }
        _ => term(expr, bindings, 0).map(Condition::Holds),
    }
}

/// A term of the fragment. `depth` ends bindings that name each other.
fn term(expr: &Expr, bindings: &Bindings, depth: u8) -> Option<Term> {
    if depth > 16 {
        return None;
    }
    let inner = |expr: &Ref<Expr>| term(expr, bindings, depth + 1);
    let constants = |items: &[Ref<Expr>]| -> Option<Vec<Value>> {
        let constant = |item| match inner(item) {
            Some(Term::Constant(value)) => Some(value),
            _ => None,
        };
        items.iter().map(constant).collect()
    };
    match expr {
        // The engine computes with fractions in an arithmetic of its own; here are whole numbers of 64 bits only.
        Expr::Number { span, value, .. } => {
            let plain = span.text().parse::<i64>().ok();
            plain.filter(|plain| whole(value) == Some(*plain)).map(|plain| Term::Constant(Value::from(plain)))
        }
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Bool { value, .. }
        | Expr::Null { value, .. } => Some(Term::Constant(value.clone())),
        Expr::Array { items, .. } => Some(Term::Constant(Value::from(constants(items)?))),
        Expr::Set { items, .. } => {
            Some(Term::Constant(Value::from(constants(items)?.into_iter().collect::<std::collections::BTreeSet<_>>())))
        }
        Expr::ArithExpr { op, lhs, rhs, .. } => {
            Some(Term::Arithmetic { op: op.clone(), left: Box::new(inner(lhs)?), right: Box::new(inner(rhs)?) })
        }
        Expr::Call { fcn, params, .. } if params.is_empty() && reference(fcn)? == ["time", "now_ns"] => Some(Term::Now),
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
            let path = reference(expr)?;
            match path.split_first()? {
                (root, rest) if root == "input" => {
                    let keys = rest.iter().map(|name| Value::String(name.as_str().into())).collect();
                    Some(Term::Input(Path { names: rest.to_vec(), keys, slot: 0 }))
                }
                (name, []) => inner(bindings.get(name)?),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `a.b["c"]` as its words, when every step is a constant text.
pub(crate) fn reference(expr: &Expr) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_string().ok().map(|text| text.to_string());
    match expr {
        Expr::Var { value, .. } => Some(vec![text(value)?]),
        Expr::RefDot { refr, field, .. } => {
            let mut path = reference(refr)?;
            path.push(text(&field.1)?);
            Some(path)
        }
        Expr::RefBrack { refr, index, .. } => {
            let Expr::String { value, .. } = &**index else { return None };
            let mut path = reference(refr)?;
            path.push(text(value)?);
            Some(path)
        }
        _ => None,
    }
}
