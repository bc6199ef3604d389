//! Queries: operations and fragments.

use super::lexer::Kind;
use super::parser::{Parsed, Parser, node, text};
use crate::value::Value;

impl Parser {
    /// A whole query.
    pub(super) fn query(&mut self) -> Parsed<Value> {
        let (mut operations, mut fragments) = (Vec::new(), Vec::new());
        while self.kind() != Kind::Eof {
            let (description, described) = self.description();
            match self.kind() {
                Kind::Sign('{') => match described {
                    Some(token) => return Self::unexpected_token(&token),
                    None => operations.push(self.shorthand()?),
                },
                Kind::Name => match self.peek().value.as_str() {
                    "query" | "mutation" | "subscription" => operations.push(self.operation(&description)?),
                    "fragment" => fragments.push(self.fragment(&description)?),
                    _ => return self.unexpected(),
                },
                _ => return self.unexpected(),
            }
        }
        Ok(node([("Operations", Value::from(operations)), ("Fragments", Value::from(fragments))]))
    }

    fn shorthand(&mut self) -> Parsed<Value> {
        Ok(node([
            ("Description", text("")),
            ("Operation", text("query")),
            ("Name", text("")),
            ("SelectionSet", Value::from(self.selections()?)),
        ]))
    }

    fn operation(&mut self, description: &str) -> Parsed<Value> {
        let operation = text(self.next().value);
        let name = if self.kind() == Kind::Name { self.next().value } else { String::new() };
        let variables = self.variables()?;
        let directives = self.directives(false)?;
        Ok(node([
            ("Description", text(description)),
            ("Operation", operation),
            ("Name", text(name)),
            ("VariableDefinitions", Value::from(variables)),
            ("Directives", Value::from(directives)),
            ("SelectionSet", Value::from(self.selections()?)),
        ]))
    }

    fn variables(&mut self) -> Parsed<Vec<Value>> {
        self.list(('(', ')'), true, &mut Self::variable)
    }

    fn variable(&mut self) -> Parsed<Value> {
        let (description, _) = self.description();
        self.expect(Kind::Sign('$'))?;
        let name = self.name()?;
        let [kind, default, directives] = self.typed(false)?;
        let (description, name) = (("Description", text(description)), ("Variable", text(name)));
        Ok(node([description, name, kind, default, directives, ("Used", Value::Bool(false))]))
    }

    fn fragment(&mut self, description: &str) -> Parsed<Value> {
        self.next();
        let name = self.fragment_name()?;
        let variables = self.variables()?;
        self.expect_word("on")?;
        let condition = self.name()?;
        let directives = self.directives(false)?;
        Ok(node([
            ("Description", text(description)),
            ("Name", text(name)),
            ("VariableDefinition", Value::from(variables)),
            ("TypeCondition", text(condition)),
            ("Directives", Value::from(directives)),
            ("SelectionSet", Value::from(self.selections()?)),
        ]))
    }

    fn fragment_name(&mut self) -> Parsed<String> {
        if self.is_word("on") { self.unexpected() } else { self.name() }
    }

    fn selections(&mut self) -> Parsed<Vec<Value>> {
        if !self.is('{') {
            return self.expect(Kind::Sign('{')).map(|_| Vec::new());
        }
        self.nested(|p| p.list(('{', '}'), true, &mut Self::selection))
    }

    fn selection(&mut self) -> Parsed<Value> {
        if self.kind() == Kind::Spread {
            self.next();
            return self.spread();
        }
        let alias = self.name()?;
        let name = if self.skip(':') { self.name()? } else { alias.clone() };
        let arguments = self.arguments(false)?;
        let directives = self.directives(false)?;
        let below = if self.is('{') { self.selections()? } else { Vec::new() };
        Ok(node([
            ("Alias", text(alias)),
            ("Name", text(name)),
            ("Arguments", Value::from(arguments)),
            ("Directives", Value::from(directives)),
            ("SelectionSet", Value::from(below)),
        ]))
    }

    fn spread(&mut self) -> Parsed<Value> {
        if self.kind() == Kind::Name && !self.is_word("on") {
            let name = text(self.name()?);
            return Ok(node([("Name", name), ("Directives", Value::from(self.directives(false)?))]));
        }
        let mut condition = String::new();
        if self.is_word("on") {
            self.next();
            condition = self.name()?;
        }
        let directives = self.directives(false)?;
        Ok(node([
            ("TypeCondition", text(condition)),
            ("Directives", Value::from(directives)),
            ("SelectionSet", Value::from(self.selections()?)),
        ]))
    }
}
