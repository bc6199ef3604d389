//! What a residual shows of itself while the unknowns are not known: whether it can hold at all.
//!
//! A residual without a body never holds, and that is not the only form of it: constants are carried through bodies,
//! support rules and calls until it shows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use super::print;
use super::residual::Residual;
use super::support::{SupportHead, SupportRule};
use super::term::{Function, Literal, Order, Root, Term, Var};
use crate::builtins::{Context, lookup};
use crate::value::Value;

/// The deepest nesting of support rules that is looked into.
const DEEPEST: usize = 32;
/// The most literals that one look takes.
const STEPS: u32 = 200_000;
/// Work of builtins that are called here.
const WORK: u64 = 1 << 20;

/// Whether a residual holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// Whatever the unknowns are, it does not hold, or fails with an error.
    Never,
    /// The unknowns decide.
    Depends,
    /// Whatever the unknowns are, it holds, or fails with an error.
    Always,
}

/// Why it does not show whether a residual can hold: this expression may be decided by what is known, and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// As it is written in the residual.
    pub expression: String,
    /// What is in the way.
    pub reason: &'static str,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.expression, self.reason)
    }
}

impl std::error::Error for Undecided {}

type Known = BTreeMap<Var, Value>;
type Found = Result<Outlook, Undecided>;

/// One look at a residual.
struct Look<'r> {
    residual: &'r Residual,
    /// Literals that may still be looked at.
    left: Cell<u32>,
}

impl Residual {
    /// Whether the query can hold. Conditions on what is unknown are taken for possible, each by itself.
    ///
    /// # Errors
    /// Where an expression mixes what is known and what is not so that they cannot be separated, or fails.
    pub fn outlook(&self) -> Result<Outlook, Undecided> {
        let look = Look { residual: self, left: Cell::new(STEPS) };
        any(self.bodies().iter().map(|body| look.body(body, Known::new(), 0)))
    }

    /// The first call of what is known that fails. With strict errors the query fails where it asks it.
    #[must_use]
    pub fn failing_call(&self) -> Option<Undecided> {
        let support = self.support().iter().flat_map(|rule| rule.branches.iter().map(|(body, _)| body));
        self.bodies().iter().chain(support).flatten().find_map(failing)
    }
}

fn failing(literal: &Literal) -> Option<Undecided> {
    match literal {
        Literal::Call(Function::Builtin(name), arguments, result) => {
            let is_known = arguments.iter().all(|argument| argument.as_const().is_some());
            is_known.then(|| called(literal, name, arguments, result.as_ref(), &mut Known::new()).err()).flatten()
        }
        Literal::Not(inner) => failing(inner),
        Literal::Every { body, .. } => body.iter().find_map(failing),
        // A modifier may replace the function.
        _ => None,
    }
}

impl Look<'_> {
    fn body(&self, body: &[Literal], mut known: Known, depth: usize) -> Found {
        let mut found = Outlook::Always;
        for (at, literal) in body.iter().enumerate() {
            let mut literal = literal.clone();
            literal.replace(&|var| known.get(&var).cloned().map(Term::Const));
            let left = self.left.get().checked_sub(1);
            self.left.set(left.ok_or_else(|| undecided(&literal, "there is too much of it"))?);
            if let Some(choices) = choices(&literal, &known) {
                let rest = body.get(at + 1..).unwrap_or_default();
                return Ok(any(choices.into_iter().map(|known| self.body(rest, known, depth)))?.min(found));
            }
            match self.literal(&literal, &mut known, depth)? {
                Outlook::Never => return Ok(Outlook::Never),
                other => found = found.min(other),
            }
        }
        Ok(found)
    }

    fn literal(&self, literal: &Literal, known: &mut Known, depth: usize) -> Found {
        let is_met = |value: &Value| *value != Value::Bool(false);
        match literal {
            Literal::Never => Ok(Outlook::Never),
            Literal::Defined(term) => self.term(term, &|_| true, depth),
            Literal::Truthy(term) => self.term(term, &is_met, depth),
            Literal::Equal(Term::Var(var), Term::Const(value)) | Literal::Equal(Term::Const(value), Term::Var(var)) => {
                known.insert(*var, value.clone());
                Ok(Outlook::Depends)
            }
            Literal::Equal(term, Term::Const(value)) | Literal::Equal(Term::Const(value), term) => {
                self.term(term, &|other| other == value, depth)
            }
            Literal::Compare(order, term, Term::Const(value)) => {
                self.term(term, &|other| holds(*order, other, value), depth)
            }
            Literal::Compare(order, Term::Const(value), term) => {
                self.term(term, &|other| holds(*order, value, other), depth)
            }
            Literal::Call(Function::Builtin(name), arguments, result) => {
                called(literal, name, arguments, result.as_ref(), known)
            }
            Literal::Call(Function::Rule(path), arguments, result) => {
                let wanted = result.as_ref().and_then(Term::as_const);
                let wanted = |value: &Value| match (wanted, result) {
                    (Some(wanted), _) => value == wanted,
                    (None, Some(_)) => true,
                    (None, None) => is_met(value),
                };
                self.document(literal, path, arguments, &wanted, depth)
            }
            // What it binds, it binds for itself.
            Literal::Not(inner) => Ok(match self.literal(inner, &mut known.clone(), depth)? {
                Outlook::Never => Outlook::Always,
                Outlook::Depends => Outlook::Depends,
                Outlook::Always => Outlook::Never,
            }),
            Literal::Every { domain: Term::Const(Value::Array(items)), body, .. } if !items.is_empty() => {
                Ok(self.body(body, known.clone(), depth)?.min(Outlook::Depends))
            }
            Literal::With(..) => Err(undecided(literal, "conditions under `with` are not taken apart")),
            Literal::Equal(..) | Literal::Compare(..) | Literal::Member { .. } | Literal::Every { .. } => {
                depends(literal)
            }
        }
    }

    /// Whether a term has a value that is wanted.
    fn term(&self, term: &Term, wanted: &dyn Fn(&Value) -> bool, depth: usize) -> Found {
        match term {
            Term::Const(value) => Ok(if wanted(value) { Outlook::Always } else { Outlook::Never }),
            Term::Ref(Root::Data, keys) => {
                let path: Option<Vec<Value>> = keys.iter().map(|key| key.as_const().cloned()).collect();
                let literal = Literal::Defined(term.clone());
                match path {
                    Some(path) => self.document(&literal, &path, &[], wanted, depth),
                    None => Err(undecided(&literal, "it reads rules by a name that only the request gives")),
                }
            }
            _ => depends(&Literal::Defined(term.clone())),
        }
    }

    /// Whether a document of support rules is a value that is wanted; for a function, with these arguments.
    fn document(
        &self,
        asked: &Literal,
        path: &[Value],
        arguments: &[Term],
        wanted: &dyn Fn(&Value) -> bool,
        depth: usize,
    ) -> Found {
        let rules: Vec<&SupportRule> = self.residual.support().iter().filter(|rule| *rule.path == *path).collect();
        if depth > DEEPEST {
            return Err(undecided(asked, "rules are nested too deep"));
        }
        if rules.is_empty() {
            return Err(undecided(asked, "it reads rules as a whole, or rules that are replaced"));
        }
        any(rules.into_iter().map(|rule| self.rule(rule, arguments, wanted, depth + 1)))
    }

    fn rule(&self, rule: &SupportRule, arguments: &[Term], wanted: &dyn Fn(&Value) -> bool, depth: usize) -> Found {
        // Members of objects and sets are not looked into.
        let is_part = !rule.keys.is_empty() || rule.head == SupportHead::Element;
        let mut known = Known::new();
        if let SupportHead::Function(parameters) = &rule.head {
            let given = parameters.iter().zip(arguments);
            known.extend(given.filter_map(|(var, argument)| Some((*var, argument.as_const()?.clone()))));
        }
        let branches = rule.branches.iter().enumerate().map(|(at, (body, value))| {
            let mut value = value.clone();
            value.replace(&|var| known.get(&var).cloned().map(Term::Const));
            let value = match value.as_const() {
                _ if is_part => Outlook::Depends,
                Some(value) if wanted(value) => Outlook::Always,
                Some(_) => Outlook::Never,
                None => Outlook::Depends,
            };
            // The default counts only where no rule does, and `else` where no branch before it holds.
            let most = if rule.default || at > 0 { Outlook::Depends } else { Outlook::Always };
            Ok(self.body(body, known.clone(), depth)?.min(value).min(most))
        });
        any(branches)
    }
}

fn undecided(literal: &Literal, reason: &'static str) -> Undecided {
    Undecided { expression: print::expression(literal), reason }
}

/// What is known for each member of a known collection, where a literal takes one.
fn choices(literal: &Literal, known: &Known) -> Option<Vec<Known>> {
    let (Literal::Equal(_, Term::Ref(Root::Var(collection), keys))
    | Literal::Equal(Term::Ref(Root::Var(collection), keys), _)
    | Literal::Defined(Term::Ref(Root::Var(collection), keys))
    | Literal::Truthy(Term::Ref(Root::Var(collection), keys))) = literal
    else {
        return None;
    };
    let [key] = keys.as_slice() else { return None };
    let item = match literal {
        Literal::Equal(Term::Ref(..), item) | Literal::Equal(item, _) => Some(item),
        _ => None,
    };
    let members: Vec<(Value, Value)> = match known.get(collection)? {
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (Value::from(at), item.clone())).collect(),
        Value::Set(items) => items.iter().map(|item| (item.clone(), item.clone())).collect(),
        Value::Object(members) => members.iter().map(|(key, item)| (key.clone(), item.clone())).collect(),
        _ => return None,
    };
    let fits = |term: &Term, value: &Value, known: &mut Known| match term {
        Term::Var(var) => known.insert(*var, value.clone()).is_none_or(|old| old == *value),
        term => term.as_const().is_none_or(|wanted| wanted == value),
    };
    let with = |(name, value): (Value, Value)| {
        let mut known = known.clone();
        let is_true = !matches!(literal, Literal::Truthy(_)) || value != Value::Bool(false);
        let fits = fits(key, &name, &mut known) && item.is_none_or(|item| fits(item, &value, &mut known)) && is_true;
        fits.then_some(known)
    };
    Some(members.into_iter().filter_map(with).collect())
}

/// A condition on what is unknown, if it is nothing else.
fn depends(literal: &Literal) -> Found {
    if literal.terms().into_iter().any(mixes) {
        return Err(undecided(literal, "it mixes what is known with what only the request gives"));
    }
    Ok(Outlook::Depends)
}

/// Whether a term reads rules, or holds a condition that is decided, within a part that is not looked into.
fn mixes(term: &Term) -> bool {
    match term {
        Term::Const(_) | Term::Var(_) => false,
        Term::Ref(Root::Data, _) => true,
        Term::Ref(_, items) | Term::Array(items) | Term::Set(items) => items.iter().any(mixes),
        Term::Object(members) => members.iter().any(|(key, value)| mixes(key) || mixes(value)),
        Term::Comprehension(inner) => {
            let decided = |literal: &Literal| *literal == Literal::Never || literal.terms().into_iter().any(mixes);
            inner.key.iter().chain([&inner.value]).any(mixes) || inner.body.iter().any(decided)
        }
    }
}

/// One of them has to hold.
fn any(mut each: impl Iterator<Item = Found>) -> Found {
    each.try_fold(Outlook::Never, |most, found| found.map(|found| most.max(found)))
}

fn holds(order: Order, left: &Value, right: &Value) -> bool {
    match order {
        Order::NotEqual => left != right,
        Order::Less => left < right,
        Order::LessEqual => left <= right,
        Order::Greater => left > right,
        Order::GreaterEqual => left >= right,
    }
}

/// A call of a builtin, which is made if all of its arguments are known.
fn called(literal: &Literal, name: &str, arguments: &[Term], result: Option<&Term>, known: &mut Known) -> Found {
    let given: Option<Vec<Value>> = arguments.iter().map(|argument| argument.as_const().cloned()).collect();
    let (Some(given), Some(builtin)) = (given, lookup(name)) else { return depends(literal) };
    // These have another result for each query, or several of them.
    if builtin.signature.nondeterministic || builtin.signature.relation {
        return Ok(Outlook::Depends);
    }
    let mut context = Context::new(0);
    context.set_work(WORK);
    let value = match builtin.call(&mut context, &given) {
        Ok(Some(value)) => value,
        Ok(None) => return Ok(Outlook::Never),
        Err(_) => return Err(undecided(literal, "it fails, whatever is asked")),
    };
    let is_met = match result {
        None => value != Value::Bool(false),
        Some(Term::Const(wanted)) => value == *wanted,
        Some(Term::Var(var)) => {
            known.insert(*var, value);
            true
        }
        Some(_) => return Ok(Outlook::Depends),
    };
    Ok(if is_met { Outlook::Always } else { Outlook::Never })
}
