//! From the engine's syntax tree to conditions.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead};

use super::call::Call;
use super::condition::{Comparison, Condition, StatedCondition};
use super::facts::Path;
use super::term::{Constant, Term};
use crate::refs::{declared, keys, leading_path, reference, whole};

/// Most terms that names may add to a condition, and to a set: names of names grow exponentially.
const MAX_NAMED: usize = 256;
const MAX_NAMED_IN_SET: usize = 65_536;

/// Reads the statements of one package.
pub(super) struct Reader {
    bindings: BTreeMap<String, Ref<Expr>>,
    /// Names of all rules and functions: they come before builtins.
    rules: BTreeSet<String>,
    /// What names were read as; `None` for one that is being read, or has no meaning here.
    read: BTreeMap<String, Option<Term>>,
    /// Variables of the body at hand.
    locals: BTreeSet<String>,
    /// Terms and items that names stood for, in this condition and in all.
    named: usize,
    named_in_set: usize,
}

impl Reader {
    pub(super) fn of(modules: &[&Ref<Module>]) -> Self {
        let (bindings, rules) = bindings(modules);
        let (read, locals) = (BTreeMap::new(), BTreeSet::new());
        Self { bindings, rules, read, locals, named: 0, named_in_set: 0 }
    }

    pub(super) fn body(&mut self, query: &Query) -> Vec<StatedCondition> {
        self.locals = variables(query);
        query.stmts.iter().map(|statement| self.stated(statement)).collect()
    }

    fn stated(&mut self, statement: &LiteralStmt) -> StatedCondition {
        self.named = 0;
        let condition = match &statement.literal {
            _ if !statement.with_mods.is_empty() => None,
            Literal::Expr { expr, .. } => self.condition(expr),
            Literal::NotExpr { expr, .. } => self.condition(expr).map(|inner| Condition::Not(Box::new(inner))),
            _ => None,
        };
        let text = source_text(statement).split_whitespace().collect::<Vec<_>>().join(" ");
        StatedCondition {
            line: statement.span.line,
            text,
            condition: condition.unwrap_or(Condition::Opaque),
            number: 0,
        }
    }

    fn condition(&mut self, expr: &Expr) -> Option<Condition> {
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
                Some(Condition::Compare { op, left: self.term(lhs)?, right: self.term(rhs)? })
            }
            // `=` unifies; between terms that are all known it compares.
            Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                let (left, right) = (self.term(lhs)?, self.term(rhs)?);
                Some(Condition::Compare { op: Comparison::Equal, left, right })
            }
            Expr::Membership { key: None, value, collection, .. } => {
                Some(Condition::Member { item: self.term(value)?, of: self.term(collection)? })
            }
            _ => self.term(expr).map(Condition::Holds),
        }
    }

    /// A term of the fragment.
    fn term(&mut self, expr: &Expr) -> Option<Term> {
        match expr {
            // The engine computes with fractions in an arithmetic of its own; here are whole numbers of 64 bits only.
            Expr::Number { span, value, .. } => {
                let plain = span.text().parse::<i64>().ok();
                plain.filter(|plain| whole(value) == Some(*plain)).map(|plain| constant(Value::from(plain), 1))
            }
            Expr::String { value, .. }
            | Expr::RawString { value, .. }
            | Expr::Bool { value, .. }
            | Expr::Null { value, .. } => Some(constant(value.clone(), 1)),
            Expr::Array { items, .. } => {
                self.constants(items).map(|(items, weight)| constant(Value::from(items), weight))
            }
            Expr::Set { items, .. } => {
                let (items, weight) = self.constants(items)?;
                Some(constant(Value::from(items.into_iter().collect::<BTreeSet<_>>()), weight))
            }
            Expr::ArithExpr { op, lhs, rhs, .. } => {
                let (left, right) = (Box::new(self.term(lhs)?), Box::new(self.term(rhs)?));
                Some(Term::Arithmetic { op: op.clone(), left, right })
            }
            Expr::Call { span, fcn, params, .. } => {
                let path = reference(fcn)?;
                if self.rules.contains(path.first()?) || self.locals.contains(path.first()?) {
                    return None;
                }
                if params.is_empty() {
                    return (path == ["time", "now_ns"]).then_some(Term::Now);
                }
                let arguments = params.iter().map(|parameter| self.term(parameter)).collect::<Option<Vec<_>>>()?;
                let call = Box::new(Call::of(&path.join("."), span, params)?);
                Some(Term::Call { call, arguments })
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.named_term(expr),
            _ => None,
        }
    }

    /// A place of the input, or what a one-line rule names.
    fn named_term(&mut self, expr: &Expr) -> Option<Term> {
        let keys = keys(expr)?;
        let (Value::String(root), rest) = keys.split_first()? else { return None };
        if self.locals.contains(&**root) {
            return None;
        }
        if &**root == "input" {
            let name = |key: &Value| key.as_string().map_or_else(|_| key.to_string(), |name| name.to_string());
            let names = rest.iter().map(name).collect();
            return Some(Term::Input(Path { names, keys: rest.to_vec(), slot: 0 }));
        }
        if !rest.is_empty() {
            return None;
        }
        if !self.read.contains_key(&**root) {
            self.read.insert(root.to_string(), None);
            let bound = self.bindings.get(&**root)?.clone();
            let (locals, named) = (std::mem::take(&mut self.locals), std::mem::take(&mut self.named));
            let term = self.term(&bound);
            (self.locals, self.named) = (locals, named);
            self.read.insert(root.to_string(), term);
        }
        let term = self.read.get(&**root)?.clone()?;
        self.spend(term.size()).then_some(term)
    }

    /// Takes from the budget for names.
    const fn spend(&mut self, size: usize) -> bool {
        self.named = self.named.saturating_add(size);
        self.named_in_set = self.named_in_set.saturating_add(size);
        self.named <= MAX_NAMED && self.named_in_set <= MAX_NAMED_IN_SET
    }

    fn constants(&mut self, items: &[Ref<Expr>]) -> Option<(Vec<Value>, usize)> {
        let (mut out, mut weight) = (Vec::with_capacity(items.len()), 1usize);
        for item in items {
            let Some(Term::Constant(constant)) = self.term(item) else { return None };
            if matches!(&**item, Expr::Var { .. }) {
                // What a name holds is copied in here.
                self.named_in_set = self.named_in_set.saturating_add(constant.weight);
                if self.named_in_set > MAX_NAMED_IN_SET {
                    return None;
                }
            }
            weight = weight.saturating_add(constant.weight);
            out.push(constant.value);
        }
        Some((out, weight))
    }
}

const fn constant(value: Value, weight: usize) -> Term {
    Term::Constant(Constant { value, weight })
}

/// Rules that only give a value a name, and are alone in doing so: `workload_id := input.subject.spiffe_id`. And the
/// first word of every rule's name.
fn bindings(modules: &[&Ref<Module>]) -> (BTreeMap<String, Ref<Expr>>, BTreeSet<String>) {
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
        let path = reference(refr).unwrap_or_else(|| leading_path(refr));
        let Some((name, rest)) = path.split_first() else { continue };
        let plain = rest.is_empty() && name != "allow" && matches!(&**refr, Expr::Var { .. });
        let value = value.filter(|_| plain);
        named.entry(name.clone()).and_modify(|known| *known = None).or_insert(value);
    }
    let names = named.keys().cloned().collect();
    (named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(), names)
}

/// The variables that the statements of a body declare: a name among them does not stand for a rule.
fn variables(query: &Query) -> BTreeSet<String> {
    let of = |statement: &LiteralStmt| match &statement.literal {
        Literal::SomeVars { vars, .. } => vars.iter().map(|var| var.text().to_owned()).collect(),
        Literal::SomeIn { key, value, .. } => key.iter().chain([value]).flat_map(|expr| declared(expr)).collect(),
        Literal::Expr { expr, .. } => match &**expr {
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } => declared(lhs),
            _ => vec![],
        },
        Literal::Every { .. } | Literal::NotExpr { .. } => vec![],
    };
    query.stmts.iter().flat_map(of).collect()
}

/// A statement as its author wrote it. The engine's span leaves out the quote that closes a last text.
fn source_text(statement: &LiteralStmt) -> &str {
    let contents = statement.span.source.contents();
    let (start, end) = (statement.span.start as usize, statement.span.end as usize);
    let closed = contents.as_bytes().get(end).is_some_and(|byte| matches!(byte, b'"' | b'`'));
    contents.get(start..end + usize::from(closed)).unwrap_or_else(|| statement.span.text())
}
