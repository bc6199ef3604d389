//! From conditions to the tests of a decision table. What has no form there is asked here.

use sekisho_rego::decision::{self, Comparison, Key, Network, Number, Operand, Pattern, Test};
use sekisho_rego::value::Value;

use super::condition::Condition;
use super::request::Place;
use super::term::Term;

/// Most patterns that a set keeps compiled; the engine compiles others when it needs them.
const MAX_PATTERNS: usize = 256;

/// Makes tests over places that a table can look at.
pub(super) struct Typing<'a> {
    places: &'a [Option<Place>],
    patterns: usize,
}

impl<'a> Typing<'a> {
    pub(super) const fn over(places: &'a [Option<Place>]) -> Self {
        Self { places, patterns: 0 }
    }

    pub(super) fn condition(&mut self, condition: &Condition) -> decision::Condition {
        let (inner, negated) = match condition {
            Condition::Not(inner) => (&**inner, true),
            other => (other, false),
        };
        match (inner, self.test(inner)) {
            (Condition::Opaque, _) => decision::Condition { test: Test::Opaque, negated: false },
            (_, Some(test)) => decision::Condition { test, negated },
            (_, None) => decision::Condition { test: Test::Foreign, negated: false },
        }
    }

    fn test(&mut self, condition: &Condition) -> Option<Test> {
        match condition {
            Condition::Opaque | Condition::Not(_) => None,
            Condition::Holds(Term::Call { call, arguments }) => self.call(call.builtin.name(), arguments),
            Condition::Holds(term) => Some(Test::Holds(self.slot(term)?)),
            Condition::Compare { op, left, right } => self.comparison(*op, left, right),
            Condition::Member { item: Term::Constant(constant), of } => match (&constant.value, self.place(of)?) {
                (Value::String(text), Place::Path) => Some(Test::Has(self.slot(of)?, text.clone())),
                _ => None,
            },
            Condition::Member { item, of: Term::Constant(constant) } => {
                let slot = self.slot(item)?;
                // Other values never equal a value of a request.
                let keys = match &constant.value {
                    Value::Array(items) => items.iter().filter_map(key).collect(),
                    Value::Set(items) => items.iter().filter_map(key).collect(),
                    _ => return None,
                };
                Some(Test::OneOf(slot, keys))
            }
            Condition::Member { .. } => None,
        }
    }

    fn comparison(&mut self, op: Comparison, left: &Term, right: &Term) -> Option<Test> {
        match (op, left, right) {
            (Comparison::Equal, place, Term::Constant(constant))
            | (Comparison::Equal, Term::Constant(constant), place)
                if self.slot(place).is_some() =>
            {
                Some(Test::OneOf(self.slot(place)?, [key(&constant.value)?].into()))
            }
            (Comparison::NotEqual, place, Term::Constant(constant))
            | (Comparison::NotEqual, Term::Constant(constant), place)
                if self.slot(place).is_some() =>
            {
                Some(Test::Differs(self.slot(place)?, key(&constant.value)?))
            }
            _ => Some(Test::Compare(op, self.operand(left)?, self.operand(right)?)),
        }
    }

    /// A builtin that answers yes or no about a text of the request.
    fn call(&mut self, name: &str, arguments: &[Term]) -> Option<Test> {
        let constant = |at: usize| match arguments.get(at) {
            Some(Term::Constant(constant)) => Some(&constant.value),
            _ => None,
        };
        let text = |at: usize| match constant(at) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        let slot = |at: usize| self.slot(arguments.get(at)?);
        match name {
            "startswith" => Some(Test::Begins(slot(0)?, text(1)?)),
            "endswith" => Some(Test::Ends(slot(0)?, text(1)?)),
            "contains" => Some(Test::Contains(slot(0)?, text(1)?)),
            "net.cidr_contains" => Some(Test::Within(slot(1)?, Network::parse(&text(0)?)?)),
            "regex.match" | "glob.match" if self.patterns >= MAX_PATTERNS => None,
            "regex.match" => {
                let (slot, pattern) = (slot(1)?, Pattern::regex(&text(0)?)?);
                self.patterns += 1;
                Some(Test::Matches(slot, pattern))
            }
            "glob.match" => {
                let (slot, pattern) = (slot(2)?, Pattern::glob(&text(0)?, &delimiters(constant(1)?)?)?);
                self.patterns += 1;
                Some(Test::Matches(slot, pattern))
            }
            _ => None,
        }
    }

    fn operand(&self, term: &Term) -> Option<Operand> {
        match term {
            Term::Constant(constant) => {
                key(&constant.value).filter(|key| !matches!(key, Key::Texts(_))).map(Operand::Key)
            }
            Term::Input(_) => self.slot(term).map(Operand::Slot),
            _ => self.number(term).map(Operand::Number),
        }
    }

    fn number(&self, term: &Term) -> Option<Number> {
        match term {
            Term::Constant(constant) => constant.value.as_i64().map(Number::Constant),
            Term::Input(_) => self.slot(term).map(Number::Slot),
            Term::Now => Some(Number::Now),
            Term::Arithmetic { op, left, right } => match (self.number(left)?, self.number(right)?) {
                (Number::Constant(left), Number::Constant(right)) => op.of(left, right).map(Number::Constant),
                (left, right) => Some(Number::Of(*op, Box::new(left), Box::new(right))),
            },
            Term::Call { call, arguments } => match arguments.as_slice() {
                [counted] if call.builtin.name() == "count" => self.slot(counted).map(Number::Length),
                _ => None,
            },
        }
    }

    fn slot(&self, term: &Term) -> Option<u32> {
        match term {
            Term::Input(slot) => self.place(term).map(|_| *slot),
            _ => None,
        }
    }

    fn place(&self, term: &Term) -> Option<&'a Place> {
        match term {
            Term::Input(slot) => self.places.get(*slot as usize)?.as_ref(),
            _ => None,
        }
    }
}

/// A constant that a request can hold.
fn key(value: &Value) -> Option<Key> {
    match value {
        Value::Bool(flag) => Some(Key::Bool(*flag)),
        Value::Number(_) => value.as_i64().map(Key::Integer),
        Value::String(text) => Some(Key::Text(text.clone())),
        Value::Array(items) => {
            let text = |item: &Value| match item {
                Value::String(text) => Some(text.clone()),
                _ => None,
            };
            items.iter().map(text).collect::<Option<_>>().map(Key::Texts)
        }
        Value::Null | Value::Set(_) | Value::Object(_) => None,
    }
}

/// The delimiters of `glob.match`; none where the builtin refuses them.
fn delimiters(value: &Value) -> Option<Vec<char>> {
    match value {
        Value::Null => Some(vec![]),
        Value::Array(items) if items.is_empty() => Some(vec!['.']),
        Value::Array(items) => {
            let one = |item: &Value| {
                let mut chars = item.as_str()?.chars();
                chars.next().filter(|_| chars.next().is_none())
            };
            items.iter().map(one).collect()
        }
        _ => None,
    }
}
