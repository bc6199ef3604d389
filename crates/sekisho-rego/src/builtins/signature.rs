//! Names and types of the built-in functions, as the checker and the evaluator see them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A type of Rego, as the signatures of built-in functions use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any value.
    Any,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array: types of its first elements, then the type of all further elements (none: no further elements).
    Array(Vec<Type>, Option<Box<Type>>),
    /// A set of elements of one type.
    Set(Box<Type>),
    /// An object: types of named members, then the types of keys and values of all others (none: no others).
    Object(Vec<(String, Type)>, Option<Box<(Type, Type)>>),
    /// One of several types.
    Union(Vec<Type>),
}

/// What a built-in function takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name in a policy, such as `array.concat`.
    pub name: String,
    /// Types of the arguments.
    pub arguments: Vec<Type>,
    /// The type of any number of further arguments.
    pub variadic: Option<Type>,
    /// The type of the result; none for a function without one.
    pub result: Option<Type>,
    /// The operator that calls the function, such as `+`.
    pub infix: Option<String>,
    /// Whether a call can have several results (`walk`).
    pub relation: bool,
    /// Whether two calls with equal arguments can differ between queries.
    pub nondeterministic: bool,
    /// Whether OPA calls the function deprecated (refused in strict checks).
    pub deprecated: bool,
}

impl Signature {
    /// The number of arguments without the variadic ones.
    #[must_use]
    pub fn arity(&self) -> usize {
        self.arguments.len()
    }
}

/// All signatures in the order of their names.
pub fn signatures() -> &'static [Signature] {
    static TABLE: OnceLock<Vec<Signature>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = include_str!("signatures.txt").lines();
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(parse_line).collect()
    })
}

/// The index in [`signatures`] of a built-in function by name.
#[must_use]
pub fn signature_index(name: &str) -> Option<usize> {
    static NAMES: OnceLock<BTreeMap<&'static str, usize>> = OnceLock::new();
    let names = NAMES.get_or_init(|| signatures().iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect());
    names.get(name).copied()
}

/// The signature of a built-in function by name.
#[must_use]
pub fn signature(name: &str) -> Option<&'static Signature> {
    signature_index(name).and_then(|i| signatures().get(i))
}

fn parse_line(line: &str) -> Option<Signature> {
    let (name, rest) = line.split_once('(')?;
    let mut reader = Reader { rest };
    let mut arguments = Vec::new();
    let mut variadic = None;
    while !reader.eat(")") {
        if reader.eat("..") {
            variadic = Some(reader.read_type()?);
        } else {
            arguments.push(reader.read_type()?);
        }
        reader.eat(", ");
    }
    reader.eat(" -> ");
    let result = if reader.eat("void") { None } else { Some(reader.read_type()?) };
    let flags = reader.rest;
    let infix = flags.split_once('`').and_then(|(_, after)| after.split_once('`')).map(|(op, _)| op.to_owned());
    Some(Signature {
        name: name.to_owned(),
        arguments,
        variadic,
        result,
        infix,
        relation: flags.ends_with("relation"),
        nondeterministic: flags.ends_with("nondeterministic"),
        deprecated: flags.ends_with("deprecated"),
    })
}

/// Reads the notation of `signatures.txt`.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn read_type(&mut self) -> Option<Type> {
        const SCALARS: [(&str, Type); 5] = [
            ("any", Type::Any),
            ("null", Type::Null),
            ("bool", Type::Bool),
            ("num", Type::Number),
            ("str", Type::String),
        ];
        for (word, kind) in SCALARS {
            if self.eat(word) {
                return Some(kind);
            }
        }
        if self.eat("[") {
            return self.read_array();
        }
        if self.eat("obj{") {
            return self.read_object();
        }
        if self.eat("{") {
            let element = self.read_type()?;
            return self.eat("}").then(|| Type::Set(Box::new(element)));
        }
        if !self.eat("(") {
            return None;
        }
        let mut kinds = vec![self.read_type()?];
        while self.eat("|") {
            kinds.push(self.read_type()?);
        }
        self.eat(")").then_some(Type::Union(kinds))
    }

    fn read_array(&mut self) -> Option<Type> {
        let (mut fixed, mut rest) = (Vec::new(), None);
        while !self.eat("]") {
            if self.eat("*") {
                rest = Some(Box::new(self.read_type()?));
            } else {
                fixed.push(self.read_type()?);
            }
            self.eat(", ");
        }
        Some(Type::Array(fixed, rest))
    }

    fn read_object(&mut self) -> Option<Type> {
        let (mut fixed, mut rest) = (Vec::new(), None);
        while !self.eat("}") {
            if self.eat("*") {
                let key = self.read_type()?;
                self.eat(": ");
                rest = Some(Box::new((key, self.read_type()?)));
            } else if self.eat("\"") {
                let (key, after) = self.rest.split_once("\": ")?;
                self.rest = after;
                fixed.push((key.to_owned(), self.read_type()?));
            } else {
                return None;
            }
            self.eat(", ");
        }
        Some(Type::Object(fixed, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("signatures.txt").lines();
        let count = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(signatures().len(), count);
        assert!(signatures().is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn types_and_flags_are_read() {
        let concat = signature("concat").expect("concat");
        let strings = || Box::new(Type::String);
        let union = Type::Union(vec![Type::Array(Vec::new(), Some(strings())), Type::Set(strings())]);
        assert_eq!(concat.arguments, [Type::String, union]);
        assert_eq!(signature("plus").and_then(|s| s.infix.clone()).as_deref(), Some("+"));
        assert!(signature("walk").is_some_and(|s| s.relation));
        assert!(signature("time.now_ns").is_some_and(|s| s.nondeterministic && s.arity() == 0));
        assert!(signature("print").is_some_and(|s| s.variadic == Some(Type::Any) && s.result.is_none()));
    }
}
