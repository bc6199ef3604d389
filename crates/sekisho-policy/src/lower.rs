//! The lowering: from the policy engine's syntax tree to typed conditions, for the linear fragment.
//!
//! The fragment is: a body of comparisons, memberships and bare references over `input`, constants,
//! `time.now_ns()` and arithmetic, where a name may be bound by a one-line rule. A statement outside it
//! becomes [`Condition::Opaque`]: it is shown, and never guessed at.

use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::{ArithOp, AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead};
use sekisho_types::UnixTime;

/// One body of the entry rule.
#[derive(Debug, Clone)]
pub(crate) struct LoweredRule {
    pub file: String,
    pub line: u32,
    pub conditions: Vec<Stated>,
}

/// A condition and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Stated {
    pub line: u32,
    pub text: String,
    pub condition: Condition,
}

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Compare { op: Comparison, left: Term, right: Term },
    Member { item: Term, of: Term },
    Holds(Term),
    Not(Box<Condition>),
    Opaque,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
    NotEqual,
}

#[derive(Debug, Clone)]
pub(crate) enum Term {
    Constant(Value),
    Input(Vec<String>),
    Now,
    Arithmetic { op: ArithOp, left: Box<Term>, right: Box<Term> },
}

/// What a condition comes to on one input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Truth {
    Met,
    /// With what stands on the side that depends on the input.
    Unmet(Option<Value>),
    Unknown,
}

type Bindings = BTreeMap<String, Ref<Expr>>;

/// Lowers every body of `allow` in package `workload.authz`.
pub(crate) fn lower(modules: &[Ref<Module>]) -> Vec<LoweredRule> {
    let ours = |module: &&Ref<Module>| reference(&module.package.refr).is_some_and(|p| p == ["workload", "authz"]);
    let modules: Vec<&Ref<Module>> = modules.iter().filter(ours).collect();
    let mut bindings = Bindings::new();
    for rule in modules.iter().flat_map(|module| &module.policy) {
        if let Some((name, value)) = binding(rule) {
            bindings.insert(name, value);
        }
    }
    let mut out = Vec::new();
    for rule in modules.iter().flat_map(|module| &module.policy) {
        let Rule::Spec { head: RuleHead::Compr { span, refr, .. }, bodies, .. } = &**rule else { continue };
        if reference(refr).is_none_or(|path| path != ["allow"]) {
            continue;
        }
        if bodies.is_empty() {
            out.push(LoweredRule { file: span.source.file().clone(), line: span.line, conditions: vec![] });
        }
        for body in bodies {
            let statements = body.query.stmts.iter().map(|statement| stated(statement, &bindings)).collect();
            out.push(LoweredRule { file: span.source.file().clone(), line: span.line, conditions: statements });
        }
    }
    out
}

/// A rule that only gives a value a name: `workload_id := input.subject.spiffe_id`.
fn binding(rule: &Rule) -> Option<(String, Ref<Expr>)> {
    let Rule::Spec { head: RuleHead::Compr { refr, assign, .. }, bodies, .. } = rule else { return None };
    let [name] = <[String; 1]>::try_from(reference(refr)?).ok()?;
    let unconditional = bodies.iter().all(|body| body.query.stmts.is_empty() && !body.is_else);
    let value = assign.as_ref().filter(|_| unconditional && name != "allow")?;
    Some((name, value.value.clone()))
}

fn stated(statement: &LiteralStmt, bindings: &Bindings) -> Stated {
    let condition = match &statement.literal {
        _ if !statement.with_mods.is_empty() => None,
        Literal::Expr { expr, .. } => condition(expr, bindings),
        Literal::NotExpr { expr, .. } => condition(expr, bindings).map(|inner| Condition::Not(Box::new(inner))),
        _ => None,
    };
    let text = source_text(statement).split_whitespace().collect::<Vec<_>>().join(" ");
    Stated { line: statement.span.line, text, condition: condition.unwrap_or(Condition::Opaque) }
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
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Number { value, .. }
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
                (root, rest) if root == "input" => Some(Term::Input(rest.to_vec())),
                (name, []) => inner(bindings.get(name)?),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `a.b["c"]` as its words, when every step is a constant text.
fn reference(expr: &Expr) -> Option<Vec<String>> {
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

impl Condition {
    pub(crate) fn truth(&self, input: &Value, now: UnixTime) -> Truth {
        let met = |holds: bool, seen: &Value| if holds { Truth::Met } else { Truth::Unmet(Some(seen.clone())) };
        match self {
            Self::Opaque => Truth::Unknown,
            Self::Not(inner) => match inner.truth(input, now) {
                Truth::Met => Truth::Unmet(None),
                Truth::Unmet(_) => Truth::Met,
                Truth::Unknown => Truth::Unknown,
            },
            Self::Holds(term) => match term.value(input, now) {
                Some(value) => met(value != Value::from(false), &value),
                None => Truth::Unmet(None),
            },
            Self::Compare { op, left, right } => match (left.value(input, now), right.value(input, now)) {
                (Some(l), Some(r)) => met(op.holds(&l, &r), if left.is_constant() { &r } else { &l }),
                _ => Truth::Unmet(None),
            },
            Self::Member { item, of } => match (item.value(input, now), of.value(input, now)) {
                (Some(item), Some(Value::Array(items))) => met(items.contains(&item), &item),
                (Some(item), Some(Value::Set(items))) => met(items.contains(&item), &item),
                (Some(item), Some(Value::Object(members))) => met(members.values().any(|v| *v == item), &item),
                _ => Truth::Unmet(None),
            },
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Equal => left == right,
            Self::GreaterEqual => left >= right,
            Self::Greater => left > right,
            Self::NotEqual => left != right,
        }
    }
}

impl Term {
    const fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    fn value(&self, input: &Value, now: UnixTime) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Now => Some(Value::from(now.nanos())),
            Self::Input(path) => {
                let mut at = input;
                for step in path {
                    at = at.as_object().ok()?.get(&Value::String(step.as_str().into()))?;
                }
                Some(at.clone())
            }
            Self::Arithmetic { op, left, right } => {
                let (l, r) = (left.value(input, now)?.as_i64().ok()?, right.value(input, now)?.as_i64().ok()?);
                let result = match op {
                    ArithOp::Add => l.checked_add(r),
                    ArithOp::Sub => l.checked_sub(r),
                    ArithOp::Mul => l.checked_mul(r),
                    ArithOp::Div => l.checked_rem(r).filter(|rest| *rest == 0).and_then(|_| l.checked_div(r)),
                    ArithOp::Mod => l.checked_rem(r),
                };
                result.map(Value::from)
            }
        }
    }
}
