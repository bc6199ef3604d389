//! The lowering: from the policy engine's syntax tree to typed conditions, for the linear fragment.
//!
//! The fragment is: a body of comparisons, memberships and bare references over `input`, constants,
//! `time.now_ns()` and arithmetic, where a name may be bound by a one-line rule. A statement outside it
//! becomes [`Condition::Opaque`]: it is shown, and never guessed at.
//!
//! A policy set all of whose entry rule lies in the fragment is decided here, without the engine. What could be an
//! error in the engine is [`Truth::Unknown`] here, and then the engine decides.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::{
    ArithOp, AssignOp, BoolOp, Expr, Import, Literal, LiteralStmt, Module, Ref, Rule, RuleBody, RuleHead,
};
use sekisho_types::UnixTime;

use crate::record::{MASK, is_sensitive, masked_query};

/// The entry rule, lowered.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub rules: Vec<LoweredRule>,
    /// Whether the rules say all that the engine would go by.
    pub complete: bool,
    /// How many different places of the input they look at.
    pub slots: usize,
    /// How many different conditions they state.
    pub conditions: usize,
}

/// One body of the entry rule.
#[derive(Debug, Clone)]
pub(crate) struct LoweredRule {
    pub file: String,
    pub line: u32,
    pub conditions: Vec<Stated>,
    /// Whether every condition is met or not met on any input; one that is not met then settles the rule.
    pub certain: bool,
}

/// A condition and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Stated {
    pub line: u32,
    pub text: String,
    pub condition: Condition,
    /// Equal conditions have the same number, in whichever rules they stand.
    number: usize,
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
    Input(Path),
    Now,
    Arithmetic { op: ArithOp, left: Box<Term>, right: Box<Term> },
}

/// A place in the input.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub names: Vec<String>,
    /// The same as keys of objects.
    pub keys: Vec<Value>,
    /// The same place has the same number in all rules of a set.
    pub slot: usize,
}

/// Facts of one decision, each looked up once however many rules ask for it.
pub(crate) struct Memo<'a, F> {
    facts: &'a F,
    now: UnixTime,
    slots: Vec<OnceCell<Option<Cow<'a, Value>>>>,
    truths: Vec<Cell<Option<Truth>>>,
}

impl<'a, F: Facts> Memo<'a, F> {
    pub(crate) fn new(facts: &'a F, now: UnixTime, lowered: &Lowered) -> Self {
        let slots = std::iter::repeat_with(OnceCell::new).take(lowered.slots).collect();
        Self { facts, now, slots, truths: vec![Cell::new(None); lowered.conditions] }
    }

    /// What a condition comes to; it is judged once.
    pub(crate) fn truth(&self, stated: &Stated) -> Truth {
        let known = self.truths.get(stated.number);
        if let Some(truth) = known.and_then(Cell::get) {
            return truth;
        }
        let truth = stated.condition.truth(self);
        known.into_iter().for_each(|known| known.set(Some(truth)));
        truth
    }

    fn at(&self, path: &Path) -> Option<&Value> {
        let slot = self.slots.get(path.slot)?;
        slot.get_or_init(|| self.facts.at(path, self.now)).as_deref()
    }
}

/// What conditions look at: a request as the sidecar holds it, or any document.
pub(crate) trait Facts {
    /// What stands at `path`; `None` where the input has nothing.
    fn at(&self, path: &Path, now: UnixTime) -> Option<Cow<'_, Value>>;
}

/// What a condition comes to on one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Met,
    Unmet,
    Unknown,
}

/// What a term comes to.
enum Known<'a> {
    Value(Cow<'a, Value>),
    Undefined,
    /// Beyond what we compute as the engine would.
    Unknown,
}

type Bindings = BTreeMap<String, Ref<Expr>>;

/// Lowers every body of `allow` in package `workload.authz`.
pub(crate) fn lower(modules: &[Ref<Module>]) -> Lowered {
    let package = |module: &Module| reference(&module.package.refr).unwrap_or_default();
    let ours: Vec<&Ref<Module>> = modules.iter().filter(|module| package(module) == ENTRY_PACKAGE).collect();
    let bindings = bindings(&ours);
    let mut rules: Vec<LoweredRule> = Vec::new();
    for rule in ours.iter().flat_map(|module| &module.policy) {
        let Rule::Spec { head: RuleHead::Compr { span, refr, .. }, bodies, .. } = &**rule else { continue };
        if reference(refr).is_none_or(|path| path != ["allow"]) {
            continue;
        }
        if bodies.is_empty() {
            rules.push(LoweredRule {
                file: span.source.file().clone(),
                line: span.line,
                conditions: vec![],
                certain: true,
            });
        }
        for body in bodies {
            let conditions: Vec<Stated> =
                body.query.stmts.iter().map(|statement| stated(statement, &bindings)).collect();
            let certain = conditions.iter().all(|stated| stated.condition.is_certain());
            rules.push(LoweredRule { file: span.source.file().clone(), line: span.line, conditions, certain });
        }
    }
    // Another package could add to the entry rule's document from above or below.
    let apart = |module: &Ref<Module>| {
        let package = package(module);
        package == ENTRY_PACKAGE || !(package.starts_with(&ENTRY_PACKAGE.map(String::from)) || is_above(&package))
    };
    let plain = |module: &&Ref<Module>| {
        module.imports.iter().all(is_syntax_import) && module.policy.iter().all(|r| is_plain(r))
    };
    let clear = rules.iter().flat_map(|rule| &rule.conditions).all(|stated| stated.condition.is_clear());
    let complete = clear && modules.iter().all(apart) && ours.iter().all(plain);
    let mut slots = BTreeMap::new();
    let mut conditions = BTreeMap::new();
    for stated in rules.iter_mut().flat_map(|rule| &mut rule.conditions) {
        stated.condition.number(&mut slots);
        let next = conditions.len();
        stated.number = *conditions.entry(format!("{:?}", stated.condition)).or_insert(next);
    }
    Lowered { complete, slots: slots.len(), conditions: conditions.len(), rules }
}

const ENTRY_PACKAGE: [&str; 2] = ["workload", "authz"];

fn is_above(package: &[String]) -> bool {
    package.len() < ENTRY_PACKAGE.len() && package.iter().zip(ENTRY_PACKAGE).all(|(ours, entry)| ours == entry)
}

/// An import that chooses syntax and names nothing.
fn is_syntax_import(import: &Import) -> bool {
    let path = reference(&import.refr).unwrap_or_default();
    let root = path.first().map(String::as_str);
    import.r#as.is_none() && matches!(root, Some("rego" | "future"))
}

/// A rule that the lowering understands, or one of another name that does not disturb it.
fn is_plain(rule: &Rule) -> bool {
    let refr = match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        } => refr,
    };
    let Some(path) = reference(refr) else { return false };
    if path.first().is_some_and(|root| ["input", "data", "time"].contains(&root.as_str())) {
        return false;
    }
    if path.first().is_none_or(|root| root != "allow") {
        return true;
    }
    let is = |expr: &Expr, wanted: bool| matches!(expr, Expr::Bool { value, .. } if *value == Value::from(wanted));
    match rule {
        Rule::Default { value, args, .. } => path.len() == 1 && args.is_empty() && is(value, false),
        Rule::Spec { head: RuleHead::Compr { assign, .. }, bodies, .. } => {
            let whole = |body: &RuleBody| !body.is_else && body.assign.as_ref().is_none_or(|a| is(&a.value, true));
            path.len() == 1 && assign.as_ref().is_none_or(|a| is(&a.value, true)) && bodies.iter().all(whole)
        }
        Rule::Spec { .. } => false,
    }
}

/// Rules that only give a value a name, and are alone in doing so: `workload_id := input.subject.spiffe_id`.
fn bindings(modules: &[&Ref<Module>]) -> Bindings {
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

fn stated(statement: &LiteralStmt, bindings: &Bindings) -> Stated {
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

impl Condition {
    /// Whether the engine has no more to say on it than we.
    fn is_clear(&self) -> bool {
        match self {
            Self::Opaque => false,
            Self::Not(inner) => inner.is_clear(),
            Self::Compare { .. } | Self::Member { .. } | Self::Holds(_) => true,
        }
    }

    /// Whether it is met or not met on any input.
    fn is_certain(&self) -> bool {
        match self {
            Self::Opaque => false,
            Self::Not(inner) => inner.is_certain(),
            Self::Holds(term) => term.is_certain(),
            Self::Compare { left, right, .. } | Self::Member { item: left, of: right } => {
                left.is_certain() && right.is_certain()
            }
        }
    }

    /// Numbers the places that it looks at.
    fn number(&mut self, slots: &mut BTreeMap<Vec<String>, usize>) {
        match self {
            Self::Opaque => {}
            Self::Not(inner) => inner.number(slots),
            Self::Holds(term) => term.number(slots),
            Self::Compare { left, right, .. } | Self::Member { item: left, of: right } => {
                left.number(slots);
                right.number(slots);
            }
        }
    }

    fn truth(&self, facts: &Memo<'_, impl Facts>) -> Truth {
        let met = |holds: bool| if holds { Truth::Met } else { Truth::Unmet };
        match self {
            Self::Opaque => Truth::Unknown,
            Self::Not(inner) => match inner.truth(facts) {
                Truth::Met => Truth::Unmet,
                Truth::Unmet => Truth::Met,
                Truth::Unknown => Truth::Unknown,
            },
            Self::Holds(term) => match term.value(facts) {
                Known::Value(value) => met(*value != Value::from(false)),
                Known::Undefined => Truth::Unmet,
                Known::Unknown => Truth::Unknown,
            },
            Self::Compare { op, left, right } => match (left.value(facts), right.value(facts)) {
                (Known::Value(l), Known::Value(r)) => met(op.holds(&l, &r)),
                (Known::Unknown, _) | (_, Known::Unknown) => Truth::Unknown,
                _ => Truth::Unmet,
            },
            Self::Member { item, of } => match (item.value(facts), of.value(facts)) {
                (Known::Value(item), Known::Value(of)) => met(match &*of {
                    Value::Array(items) => items.contains(&item),
                    Value::Set(items) => items.contains(&item),
                    Value::Object(members) => members.values().any(|value| *value == *item),
                    _ => false,
                }),
                (Known::Unknown, _) | (_, Known::Unknown) => Truth::Unknown,
                _ => Truth::Unmet,
            },
        }
    }

    /// What was found where the condition looked, for one that is not met.
    pub(crate) fn found(&self, facts: &Memo<'_, impl Facts>) -> Option<Value> {
        let term = match self {
            Self::Opaque | Self::Not(_) => return None,
            Self::Holds(term) | Self::Member { item: term, .. } => term,
            Self::Compare { left, right, .. } => {
                if left.is_constant() {
                    right
                } else {
                    left
                }
            }
        };
        match term.value(facts) {
            // A record keeps no secret, wherever it was looked at.
            Known::Value(_) if term.shows_secrets() => Some(Value::from(MASK)),
            Known::Value(value) if term.is_query() => {
                value.as_string().ok().map(|query| Value::from(masked_query(query).as_str()))
            }
            Known::Value(value) => Some(value.into_owned()),
            Known::Undefined | Known::Unknown => None,
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
    /// Arithmetic may leave what we compute.
    const fn is_certain(&self) -> bool {
        !matches!(self, Self::Arithmetic { .. })
    }

    fn number(&mut self, slots: &mut BTreeMap<Vec<String>, usize>) {
        match self {
            Self::Constant(_) | Self::Now => {}
            Self::Input(path) => {
                let next = slots.len();
                path.slot = *slots.entry(path.names.clone()).or_insert(next);
            }
            Self::Arithmetic { left, right, .. } => {
                left.number(slots);
                right.number(slots);
            }
        }
    }

    fn is_query(&self) -> bool {
        matches!(self, Self::Input(path) if path.names == ["query"])
    }

    /// Whether what it names may hold a header that records mask.
    fn shows_secrets(&self) -> bool {
        match self {
            Self::Input(path) => match path.names.as_slice() {
                [] => true,
                [headers] => headers == "headers",
                [headers, name, ..] => headers == "headers" && is_sensitive(name),
            },
            Self::Arithmetic { left, right, .. } => {
                [left, right].iter().any(|term| term.shows_secrets() || term.is_query())
            }
            Self::Constant(_) | Self::Now => false,
        }
    }

    const fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    fn value<'a>(&'a self, facts: &'a Memo<'_, impl Facts>) -> Known<'a> {
        match self {
            Self::Constant(value) => Known::Value(Cow::Borrowed(value)),
            Self::Now => Known::Value(Cow::Owned(Value::from(facts.now.nanos()))),
            Self::Input(path) => facts.at(path).map_or(Known::Undefined, |value| Known::Value(Cow::Borrowed(value))),
            Self::Arithmetic { op, left, right } => {
                let (l, r) = match (left.value(facts), right.value(facts)) {
                    (Known::Value(l), Known::Value(r)) => (l, r),
                    (Known::Unknown, _) | (_, Known::Unknown) => return Known::Unknown,
                    _ => return Known::Undefined,
                };
                // What is not whole numbers of 64 bits may be an error, which would deny, or a number that is not one.
                let result = whole(&l).zip(whole(&r)).and_then(|(l, r)| match op {
                    ArithOp::Add => l.checked_add(r),
                    ArithOp::Sub => l.checked_sub(r),
                    ArithOp::Mul => l.checked_mul(r),
                    ArithOp::Div => l.checked_rem(r).filter(|rest| *rest == 0).and_then(|_| l.checked_div(r)),
                    ArithOp::Mod => l.checked_rem(r),
                });
                result.map_or(Known::Unknown, |result| Known::Value(Cow::Owned(Value::from(result))))
            }
        }
    }
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().ok()
}

impl Facts for Value {
    fn at(&self, path: &Path, _now: UnixTime) -> Option<Cow<'_, Value>> {
        let mut at = self;
        for key in &path.keys {
            at = at.as_object().ok()?.get(key)?;
        }
        Some(Cow::Borrowed(at))
    }
}
