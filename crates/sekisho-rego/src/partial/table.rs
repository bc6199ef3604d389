//! A residual as rows of simple constraints, for enforcers that know tables only.

use std::fmt;

use super::print;
use super::residual::Residual;
use super::support::{SupportHead, SupportRule};
use super::term::{Function, Literal, Order, Root, Term};
use crate::value::Value;

/// The most rows that a residual is written out to.
const MOST_ROWS: usize = 100_000;

/// The deepest nesting of helper rules that is written out.
const DEEPEST: usize = 32;

/// A part of the input or of data by constant keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// Input or data.
    pub root: Root,
    /// The keys.
    pub path: Vec<Value>,
}

/// What a column must be. A column that is undefined fulfils no constraint but [`Constraint::Not`].
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// It is defined.
    Defined,
    /// It is this value.
    Equal(Value),
    /// It is one of these values.
    OneOf(Vec<Value>),
    /// It compares so with the value, by Rego's order of all values.
    Compare(Order, Value),
    /// It is a text of an address or of a CIDR within this CIDR; any other text is an error.
    Within(Value),
    /// It is a text with this beginning; any other value is an error.
    Prefix(Value),
    /// It does not fulfil the constraint.
    Not(Box<Constraint>),
}

/// Constraints that must all hold.
pub type Row = Vec<(Column, Constraint)>;

/// Why a residual is not a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prevented {
    /// The number of the body, from 0.
    pub body: usize,
    /// The expression.
    pub expression: String,
    /// What is in the way.
    pub reason: &'static str,
}

impl fmt::Display for Prevented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a constraint of a table: {}", self.expression, self.reason)
    }
}

impl std::error::Error for Prevented {}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::reference(&Term::Ref(self.root, self.path.iter().cloned().map(Term::Const).collect())))
    }
}

type Why = &'static str;

impl Residual {
    /// The rows of which one must hold. No row: the query never holds. An empty row: it always does. The order of
    /// conditions is not kept, so a table is exact for columns that have the types which the constraints name.
    ///
    /// # Errors
    /// The first expression that is not a constraint of one column.
    pub fn table(&self) -> Result<Vec<Row>, Prevented> {
        let mut rows = Vec::new();
        for (at, body) in self.bodies().iter().enumerate() {
            rows.extend(self.rows(body, 0).map_err(|(expression, reason)| Prevented {
                body: at,
                expression,
                reason,
            })?);
        }
        Ok(rows)
    }

    /// The rows of literals that must all hold.
    fn rows(&self, body: &[Literal], depth: usize) -> Result<Vec<Row>, (String, Why)> {
        let mut rows: Vec<Row> = vec![Vec::new()];
        for literal in body {
            let expression = |why: Why| (print::expression(literal), why);
            rows = join(rows, self.of(literal, true, depth)?).map_err(expression)?;
        }
        Ok(rows)
    }

    /// The rows of a literal, or of its negation.
    fn of(&self, literal: &Literal, holds: bool, depth: usize) -> Result<Vec<Row>, (String, Why)> {
        let refuse = |why: Why| (print::expression(literal), why);
        match literal {
            Literal::Not(inner) => return self.of(inner, !holds, depth),
            Literal::Never => return Ok(if holds { Vec::new() } else { vec![Vec::new()] }),
            Literal::Truthy(Term::Ref(Root::Data, keys)) => {
                if let Some(rules) = self.helper(keys) {
                    return self.helped(&rules, holds, depth + 1, &refuse);
                }
            }
            _ => {}
        }
        let (column, constraint) = constraint(literal).map_err(refuse)?;
        let constraint = if holds { constraint } else { Constraint::Not(Box::new(constraint)) };
        Ok(vec![vec![(column, constraint)]])
    }

    /// The rules of a document that is true where one of their bodies holds, and has no other value.
    fn helper(&self, keys: &[Term]) -> Option<Vec<&SupportRule>> {
        let path: Vec<Value> = keys.iter().map(|key| key.as_const().cloned()).collect::<Option<_>>()?;
        let rules: Vec<&SupportRule> = self.support().iter().filter(|rule| *rule.path == *path).collect();
        let plain = |rule: &&SupportRule| {
            rule.head == SupportHead::Value
                && rule.keys.is_empty()
                && match rule.branches.as_slice() {
                    [(_, Term::Const(Value::Bool(value)))] => *value != rule.default,
                    _ => false,
                }
        };
        (!rules.is_empty() && rules.iter().all(plain)).then_some(rules)
    }

    fn helped(
        &self,
        rules: &[&SupportRule],
        holds: bool,
        depth: usize,
        refuse: &dyn Fn(Why) -> (String, Why),
    ) -> Result<Vec<Row>, (String, Why)> {
        if depth > DEEPEST {
            return Err(refuse("rules are nested too deep"));
        }
        let bodies = rules.iter().filter(|rule| !rule.default).flat_map(|rule| &rule.branches).map(|(body, _)| body);
        let mut rows = if holds { Vec::new() } else { vec![Vec::new()] };
        for body in bodies {
            if holds {
                rows.extend(self.rows(body, depth)?);
                continue;
            }
            // Not all of them: the first does not hold, or the second, and so on.
            let mut fails = Vec::new();
            for literal in body {
                fails.extend(self.of(literal, false, depth)?);
            }
            rows = join(rows, fails).map_err(refuse)?;
        }
        Ok(rows)
    }
}

/// The rows in which one of the first and one of the second hold.
fn join(first: Vec<Row>, second: Vec<Row>) -> Result<Vec<Row>, Why> {
    if first.len().saturating_mul(second.len()) > MOST_ROWS {
        return Err("the table would have too many rows");
    }
    let with = |row: &Row| second.iter().map(|other| row.iter().chain(other).cloned().collect()).collect::<Vec<Row>>();
    Ok(first.iter().flat_map(with).collect())
}

fn constraint(literal: &Literal) -> Result<(Column, Constraint), Why> {
    const TWO: Why = "it compares two parts that are unknown";
    const FORM: Why = "only comparisons, memberships, CIDRs and prefixes of one column are";
    match literal {
        Literal::Defined(term) => Ok((column(term)?, Constraint::Defined)),
        Literal::Truthy(term) => Ok((column(term)?, Constraint::Compare(Order::NotEqual, Value::Bool(false)))),
        Literal::Equal(Term::Const(value), term) | Literal::Equal(term, Term::Const(value)) => {
            Ok((column(term)?, Constraint::Equal(value.clone())))
        }
        Literal::Compare(order, term, Term::Const(value)) => {
            Ok((column(term)?, Constraint::Compare(*order, value.clone())))
        }
        Literal::Compare(order, Term::Const(value), term) => {
            Ok((column(term)?, Constraint::Compare(order.turned(), value.clone())))
        }
        Literal::Equal(..) | Literal::Compare(..) => Err(TWO),
        Literal::Member { key: None, value, collection: Term::Const(collection), result: None } => {
            let values = match collection {
                Value::Array(items) => items.to_vec(),
                Value::Set(items) => items.to_vec(),
                Value::Object(members) => members.values().cloned().collect(),
                _ => Vec::new(),
            };
            Ok((column(value)?, Constraint::OneOf(values)))
        }
        Literal::Call(Function::Builtin("net.cidr_contains"), arguments, None) => match arguments.as_slice() {
            [Term::Const(cidr), term] => Ok((column(term)?, Constraint::Within(cidr.clone()))),
            _ => Err("the CIDR is unknown"),
        },
        Literal::Call(Function::Builtin("startswith"), arguments, None) => match arguments.as_slice() {
            [term, Term::Const(prefix)] => Ok((column(term)?, Constraint::Prefix(prefix.clone()))),
            _ => Err("the prefix is unknown"),
        },
        _ => Err(FORM),
    }
}

fn column(term: &Term) -> Result<Column, Why> {
    let Term::Ref(root @ (Root::Input | Root::Data), keys) = term else {
        return Err("a value that a function, a comprehension or an iteration gives is not a column");
    };
    let path = keys.iter().map(|key| key.as_const().cloned()).collect::<Option<Vec<Value>>>();
    Ok(Column { root: *root, path: path.ok_or("a key is unknown")? })
}

impl Order {
    /// The order that holds between the two the other way round.
    #[must_use]
    pub fn turned(self) -> Order {
        match self {
            Order::NotEqual => Order::NotEqual,
            Order::Less => Order::Greater,
            Order::LessEqual => Order::GreaterEqual,
            Order::Greater => Order::Less,
            Order::GreaterEqual => Order::LessEqual,
        }
    }
}
