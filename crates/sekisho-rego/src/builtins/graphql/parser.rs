//! What queries and schemas have in common: values, types, directives. Nodes are made as OPA shows them.

use super::lexer::{Kind, Token, lex};
use crate::builtins::context::{BuiltinError, Context, failure};
use crate::value::{Object, Value};

/// How deep selections, values and types may be nested.
const DEEPEST: usize = 200;

/// The work of a byte of text: its tokens, and the nodes that they become.
const OF_BYTE: usize = 50;

pub(super) type Parsed<T> = Result<T, BuiltinError>;

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    pub(super) fn new(cx: &mut Context, text: &str) -> Parsed<Parser> {
        cx.spend(text.len().saturating_mul(OF_BYTE))?;
        Ok(Parser { tokens: lex(text), at: 0, depth: 0 })
    }

    pub(super) fn peek(&self) -> Token {
        let end = || Token { kind: Kind::Eof, value: String::new(), line: 1, column: 1 };
        self.tokens.get(self.at).or(self.tokens.last()).cloned().unwrap_or_else(end)
    }

    pub(super) fn kind(&self) -> Kind {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(Kind::Eof, |token| token.kind)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind() == Kind::Name && self.peek().value == word
    }

    pub(super) fn is(&self, sign: char) -> bool {
        self.kind() == Kind::Sign(sign)
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len().saturating_sub(1));
        token
    }

    pub(super) fn error<T>(token: &Token, message: &str) -> Parsed<T> {
        let Token { line, column, .. } = token;
        Err(failure(format!("{message} in GraphQL string at location {line}:{column}")))
    }

    pub(super) fn unexpected<T>(&self) -> Parsed<T> {
        Self::unexpected_token(&self.peek())
    }

    pub(super) fn unexpected_token<T>(token: &Token) -> Parsed<T> {
        Self::error(token, &format!("Unexpected {}", token.shown()))
    }

    pub(super) fn expect(&mut self, kind: Kind) -> Parsed<Token> {
        if self.kind() == kind {
            return Ok(self.next());
        }
        let token = self.peek();
        Self::error(&token, &format!("Expected {}, found {}", kind.shown(), token.kind.shown()))
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.is_word(word) {
            self.next();
            return Ok(());
        }
        let token = self.peek();
        Self::error(&token, &format!("Expected {word:?}, found {}", token.shown()))
    }

    pub(super) fn skip(&mut self, sign: char) -> bool {
        let found = self.is(sign);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        self.expect(Kind::Name).map(|token| token.value)
    }

    /// Nodes between two signs, if the first one is there; at least one where `some`.
    pub(super) fn list(
        &mut self,
        signs: (char, char),
        some: bool,
        node: &mut dyn FnMut(&mut Self) -> Parsed<Value>,
    ) -> Parsed<Vec<Value>> {
        let mut nodes = Vec::new();
        if !self.skip(signs.0) {
            return Ok(nodes);
        }
        while !self.is(signs.1) {
            nodes.push(node(self)?);
        }
        if some && nodes.is_empty() {
            let token = self.peek();
            return Self::error(&token, &format!("expected at least one definition, found {}", token.kind.shown()));
        }
        self.next();
        Ok(nodes)
    }

    /// Parses something that may hold itself.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            return Self::error(&self.peek(), &format!("exceeded maximum nesting depth of {DEEPEST}"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// A description, and whether there is one.
    pub(super) fn description(&mut self) -> (String, Option<Token>) {
        if !matches!(self.kind(), Kind::String | Kind::BlockString) {
            return (String::new(), None);
        }
        let token = self.next();
        (token.value.clone(), Some(token))
    }

    pub(super) fn value(&mut self, constant: bool) -> Parsed<Value> {
        let token = self.peek();
        let kind = match token.kind {
            Kind::Sign('[') => {
                let items = self.nested(|p| {
                    p.list(('[', ']'), false, &mut |p| Ok(node([("Name", text("")), ("Value", p.value(constant)?)])))
                })?;
                return Ok(value_node("", 8, items));
            }
            Kind::Sign('{') => {
                let fields = self.nested(|p| p.list(('{', '}'), false, &mut |p| p.argument(constant)))?;
                return Ok(value_node("", 9, fields));
            }
            Kind::Sign('$') if !constant => {
                self.next();
                return Ok(value_node(&self.name()?, 0, Vec::new()));
            }
            Kind::Int => 1,
            Kind::Float => 2,
            Kind::String => 3,
            Kind::BlockString => 4,
            Kind::Name => match token.value.as_str() {
                "true" | "false" => 5,
                "null" => 6,
                _ => 7,
            },
            _ => return self.unexpected(),
        };
        self.next();
        Ok(value_node(&token.value, kind, Vec::new()))
    }

    pub(super) fn argument(&mut self, constant: bool) -> Parsed<Value> {
        let name = self.name()?;
        self.expect(Kind::Sign(':'))?;
        Ok(node([("Name", text(name)), ("Value", self.value(constant)?)]))
    }

    pub(super) fn arguments(&mut self, constant: bool) -> Parsed<Vec<Value>> {
        self.list(('(', ')'), true, &mut |p| p.argument(constant))
    }

    pub(super) fn directives(&mut self, constant: bool) -> Parsed<Vec<Value>> {
        let mut directives = Vec::new();
        while self.skip('@') {
            let name = text(self.name()?);
            let arguments = Value::from(self.arguments(constant)?);
            directives.push(node([("Name", name), ("Arguments", arguments), ("Location", text(""))]));
        }
        Ok(directives)
    }

    /// The type of a variable or an input after its name, its default, and its directives.
    pub(super) fn typed(&mut self, constant: bool) -> Parsed<[(&'static str, Value); 3]> {
        self.expect(Kind::Sign(':'))?;
        let kind = self.type_reference()?;
        let default = if self.skip('=') { self.value(true)? } else { Value::Null };
        let directives = Value::from(self.directives(constant)?);
        Ok([("Type", kind), ("DefaultValue", default), ("Directives", directives)])
    }

    pub(super) fn type_reference(&mut self) -> Parsed<Value> {
        let (named, element) = if self.skip('[') {
            let element = self.nested(Self::type_reference)?;
            self.expect(Kind::Sign(']'))?;
            (String::new(), element)
        } else {
            (self.name()?, Value::Null)
        };
        let required = Value::Bool(self.skip('!'));
        Ok(node([("NamedType", text(named)), ("Elem", element), ("NonNull", required)]))
    }
}

pub(super) fn text(text: impl AsRef<str>) -> Value {
    Value::from(text.as_ref())
}

pub(super) fn texts(texts: Vec<String>) -> Value {
    Value::from(texts.into_iter().map(Value::from).collect::<Vec<_>>())
}

/// A node without what is null or empty.
pub(super) fn node<const N: usize>(members: [(&str, Value); N]) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    let kept = members.into_iter().filter(|(_, value)| !empty(value));
    Value::Object(kept.map(|(name, value)| (Value::from(name), value)).collect::<Object>())
}

fn value_node(raw: &str, kind: i64, children: Vec<Value>) -> Value {
    node([
        ("Raw", text(raw)),
        ("Kind", Value::from(kind)),
        ("Children", Value::from(children)),
        ("ExpectedTypeHasDefault", Value::Bool(false)),
    ])
}
