//! Schemas: definitions of types and directives, and extensions of them.

use super::lexer::Kind;
use super::parser::{Parsed, Parser, node, text, texts};
use crate::value::Value;

/// The places that a directive may be defined for.
const LOCATIONS: [&str; 19] = [
    "QUERY",
    "MUTATION",
    "SUBSCRIPTION",
    "FIELD",
    "FRAGMENT_DEFINITION",
    "FRAGMENT_SPREAD",
    "INLINE_FRAGMENT",
    "VARIABLE_DEFINITION",
    "SCHEMA",
    "SCALAR",
    "OBJECT",
    "FIELD_DEFINITION",
    "ARGUMENT_DEFINITION",
    "INTERFACE",
    "UNION",
    "ENUM",
    "ENUM_VALUE",
    "INPUT_OBJECT",
    "INPUT_FIELD_DEFINITION",
];

impl Parser {
    /// A whole schema.
    pub(super) fn schema(&mut self) -> Parsed<Value> {
        let (mut schemas, mut directives, mut definitions) = (Vec::new(), Vec::new(), Vec::new());
        let (mut schema_extensions, mut extensions) = (Vec::new(), Vec::new());
        while self.kind() != Kind::Eof {
            let (description, described) = self.description();
            if self.kind() != Kind::Name {
                return self.unexpected();
            }
            match self.peek().value.as_str() {
                "schema" => schemas.push(self.schema_definition(&description, false)?),
                "directive" => directives.push(self.directive_definition(&description)?),
                "extend" => {
                    if let Some(token) = described.filter(|token| !token.value.is_empty()) {
                        return Self::unexpected_token(&token);
                    }
                    self.next();
                    if self.is_word("schema") {
                        schema_extensions.push(self.schema_definition("", true)?);
                    } else {
                        extensions.push(self.definition("", true)?);
                    }
                }
                _ => definitions.push(self.definition(&description, false)?),
            }
        }
        Ok(node([
            ("Schema", Value::from(schemas)),
            ("SchemaExtension", Value::from(schema_extensions)),
            ("Directives", Value::from(directives)),
            ("Definitions", Value::from(definitions)),
            ("Extensions", Value::from(extensions)),
        ]))
    }

    fn schema_definition(&mut self, description: &str, extends: bool) -> Parsed<Value> {
        self.next();
        let directives = self.directives(true)?;
        let operations = self.list(('{', '}'), true, &mut |p| {
            let operation = p.name()?;
            if !matches!(operation.as_str(), "query" | "mutation" | "subscription") {
                return p.unexpected();
            }
            p.expect(Kind::Sign(':'))?;
            Ok(node([("Operation", text(operation)), ("Type", text(p.name()?))]))
        })?;
        if extends && directives.is_empty() && operations.is_empty() {
            return self.unexpected();
        }
        Ok(node([
            ("Description", text(description)),
            ("Directives", Value::from(directives)),
            ("OperationTypes", Value::from(operations)),
        ]))
    }

    /// A type, or the extension of one, which has to add something.
    fn definition(&mut self, description: &str, extends: bool) -> Parsed<Value> {
        let kind = match self.peek().value.as_str() {
            "scalar" => "SCALAR",
            "type" => "OBJECT",
            "interface" => "INTERFACE",
            "union" => "UNION",
            "enum" => "ENUM",
            "input" => "INPUT_OBJECT",
            _ => return self.unexpected(),
        };
        self.next();
        let name = self.name()?;
        let interfaces = if matches!(kind, "OBJECT" | "INTERFACE") { self.implemented()? } else { Vec::new() };
        let directives = self.directives(true)?;
        let (mut fields, mut types, mut values) = (Vec::new(), Vec::new(), Vec::new());
        match kind {
            "OBJECT" | "INTERFACE" => fields = self.list(('{', '}'), true, &mut Self::field)?,
            "INPUT_OBJECT" => fields = self.list(('{', '}'), true, &mut Self::input_value)?,
            "UNION" => types = self.union_members()?,
            "ENUM" => values = self.list(('{', '}'), true, &mut Self::enum_value)?,
            _ => {}
        }
        let adds = [interfaces.len(), directives.len(), fields.len(), types.len(), values.len()];
        if extends && adds.iter().all(|count| *count == 0) {
            return self.unexpected();
        }
        Ok(node([
            ("Kind", text(kind)),
            ("Description", text(description)),
            ("Name", text(name)),
            ("Directives", Value::from(directives)),
            ("Interfaces", texts(interfaces)),
            ("Fields", Value::from(fields)),
            ("Types", texts(types)),
            ("EnumValues", Value::from(values)),
            ("BuiltIn", Value::Bool(false)),
        ]))
    }

    fn implemented(&mut self) -> Parsed<Vec<String>> {
        if !self.is_word("implements") {
            return Ok(Vec::new());
        }
        self.next();
        self.separated('&')
    }

    fn union_members(&mut self) -> Parsed<Vec<String>> {
        if self.skip('=') { self.separated('|') } else { Ok(Vec::new()) }
    }

    /// Names with a sign between them, which may stand before the first as well.
    fn separated(&mut self, sign: char) -> Parsed<Vec<String>> {
        self.skip(sign);
        let mut names = vec![self.name()?];
        while self.skip(sign) {
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn field(&mut self) -> Parsed<Value> {
        let (description, _) = self.description();
        let name = self.name()?;
        let arguments = self.list(('(', ')'), true, &mut Self::input_value)?;
        self.expect(Kind::Sign(':'))?;
        let kind = self.type_reference()?;
        Ok(node([
            ("Description", text(description)),
            ("Name", text(name)),
            ("Arguments", Value::from(arguments)),
            ("Type", kind),
            ("Directives", Value::from(self.directives(true)?)),
        ]))
    }

    /// An argument of a field or a directive, or a field of an input.
    fn input_value(&mut self) -> Parsed<Value> {
        let (description, _) = self.description();
        let name = self.name()?;
        let [kind, default, directives] = self.typed(true)?;
        Ok(node([("Description", text(description)), ("Name", text(name)), kind, default, directives]))
    }

    fn enum_value(&mut self) -> Parsed<Value> {
        let (description, _) = self.description();
        let name = self.name()?;
        Ok(node([
            ("Description", text(description)),
            ("Name", text(name)),
            ("Directives", Value::from(self.directives(true)?)),
        ]))
    }

    fn directive_definition(&mut self, description: &str) -> Parsed<Value> {
        self.next();
        self.expect(Kind::Sign('@'))?;
        let name = self.name()?;
        let arguments = self.list(('(', ')'), true, &mut Self::input_value)?;
        let repeatable = self.is_word("repeatable");
        if repeatable {
            self.next();
        }
        self.expect_word("on")?;
        self.skip('|');
        let mut locations = vec![self.location()?];
        while self.skip('|') {
            locations.push(self.location()?);
        }
        Ok(node([
            ("Description", text(description)),
            ("Name", text(name)),
            ("Arguments", Value::from(arguments)),
            ("Locations", texts(locations)),
            ("IsRepeatable", Value::Bool(repeatable)),
        ]))
    }

    fn location(&mut self) -> Parsed<String> {
        let token = self.expect(Kind::Name)?;
        if LOCATIONS.contains(&token.value.as_str()) { Ok(token.value) } else { Self::unexpected_token(&token) }
    }
}
