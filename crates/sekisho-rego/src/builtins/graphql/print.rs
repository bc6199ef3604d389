//! Nodes as a text of GraphQL: policies may give a query or a schema as the object that parsing made of it.

use super::parser::Parsed;
use crate::builtins::context::{Context, failure};
use crate::value::Value;

/// How deep nodes may be nested; a level of GraphQL has a few of them.
const DEEPEST: u32 = 600;

pub(super) fn query(cx: &mut Context, document: &Value) -> Parsed<String> {
    let mut printer = Printer::new(cx, document)?;
    for operation in all(document, "Operations") {
        printer.description(operation);
        printer.word(member(operation, "Operation"));
        printer.word(member(operation, "Name"));
        printer.list('(', ')', operation, "VariableDefinitions", Printer::variable);
        printer.directives(operation);
        printer.selections(operation);
    }
    for fragment in all(document, "Fragments") {
        printer.description(fragment);
        printer.word("fragment");
        printer.word(member(fragment, "Name"));
        printer.list('(', ')', fragment, "VariableDefinition", Printer::variable);
        printer.word("on");
        printer.word(member(fragment, "TypeCondition"));
        printer.directives(fragment);
        printer.selections(fragment);
    }
    Ok(printer.text)
}

pub(super) fn schema(cx: &mut Context, document: &Value) -> Parsed<String> {
    let mut printer = Printer::new(cx, document)?;
    for (name, extend) in [("Schema", ""), ("SchemaExtension", "extend")] {
        for schema in all(document, name) {
            printer.description(schema);
            printer.word(extend);
            printer.word("schema");
            printer.directives(schema);
            printer.list('{', '}', schema, "OperationTypes", |printer, operation| {
                printer.word(member(operation, "Operation"));
                printer.word(":");
                printer.word(member(operation, "Type"));
            });
        }
    }
    for directive in all(document, "Directives") {
        printer.description(directive);
        printer.word("directive @");
        printer.word(member(directive, "Name"));
        printer.list('(', ')', directive, "Arguments", Printer::input_value);
        if directive.get(&Value::from("IsRepeatable")) == Some(&Value::Bool(true)) {
            printer.word("repeatable");
        }
        printer.names("on", "|", directive, "Locations");
    }
    for (name, extend) in [("Definitions", ""), ("Extensions", "extend")] {
        for definition in all(document, name) {
            printer.definition(extend, definition)?;
        }
    }
    Ok(printer.text)
}

fn member<'a>(node: &'a Value, name: &str) -> &'a str {
    node.get(&Value::from(name)).and_then(Value::as_str).unwrap_or_default()
}

fn all<'a>(node: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = node.get(&Value::from(name)).and_then(Value::as_array);
    list.into_iter().flat_map(|list| list.iter())
}

struct Printer {
    text: String,
}

impl Printer {
    fn new(cx: &mut Context, document: &Value) -> Parsed<Printer> {
        if document.depth() > DEEPEST {
            return Err(failure("value is nested too deeply"));
        }
        cx.spend_value(document)?;
        Ok(Printer { text: String::new() })
    }

    fn word(&mut self, word: &str) {
        if !word.is_empty() {
            self.text.push_str(word);
            self.text.push(' ');
        }
    }

    /// A text as JSON writes it, which is a text of GraphQL as well.
    fn quoted(&mut self, text: &str) {
        self.word(&Value::from(text).to_json());
    }

    fn description(&mut self, node: &Value) {
        let text = member(node, "Description");
        if !text.is_empty() {
            self.quoted(text);
        }
    }

    fn list(&mut self, open: char, close: char, node: &Value, name: &str, print: fn(&mut Self, &Value)) {
        let mut items = all(node, name).peekable();
        if items.peek().is_none() {
            return;
        }
        self.text.push(open);
        for item in items {
            print(self, item);
            self.text.push('\n');
        }
        self.text.push(close);
        self.text.push('\n');
    }

    /// Names with a sign between them, after a word.
    fn names(&mut self, word: &str, sign: &str, node: &Value, name: &str) {
        for (number, name) in all(node, name).filter_map(Value::as_str).enumerate() {
            self.word(if number == 0 { word } else { sign });
            self.word(name);
        }
    }

    fn directives(&mut self, node: &Value) {
        for directive in all(node, "Directives") {
            self.text.push('@');
            self.word(member(directive, "Name"));
            self.list('(', ')', directive, "Arguments", Self::argument);
        }
    }

    fn argument(&mut self, argument: &Value) {
        self.word(member(argument, "Name"));
        self.word(":");
        self.value_of(argument, "Value");
    }

    fn value_of(&mut self, node: &Value, name: &str) {
        let Some(value) = node.get(&Value::from(name)) else { return };
        let raw = member(value, "Raw");
        match value.get(&Value::from("Kind")).and_then(Value::as_i64) {
            Some(8) => {
                self.text.push('[');
                all(value, "Children").for_each(|child| self.value_of(child, "Value"));
                self.text.push(']');
            }
            Some(9) => {
                self.text.push('{');
                all(value, "Children").for_each(|child| self.argument(child));
                self.text.push('}');
            }
            Some(3) => self.quoted(raw),
            Some(4) => self.word(&format!("\"\"\"\n{}\n\"\"\"", raw.replace("\"\"\"", "\\\"\"\""))),
            // Of a variable the name, or else what was written.
            Some(1 | 2 | 5..=7) => self.word(raw),
            _ => self.word(&format!("${raw}")),
        }
    }

    fn type_of(&mut self, node: &Value, name: &str) {
        let Some(kind) = node.get(&Value::from(name)) else { return };
        match kind.get(&Value::from("Elem")) {
            Some(Value::Object(_)) => {
                self.text.push('[');
                self.type_of(kind, "Elem");
                self.text.push(']');
            }
            _ => self.text.push_str(member(kind, "NamedType")),
        }
        let required = kind.get(&Value::from("NonNull")) == Some(&Value::Bool(true));
        self.word(if required { "!" } else { " " });
    }

    fn variable(&mut self, variable: &Value) {
        self.description(variable);
        self.text.push('$');
        self.word(member(variable, "Variable"));
        self.typed(variable);
    }

    /// The type of a variable or an input, its default and its directives.
    fn typed(&mut self, node: &Value) {
        self.word(":");
        self.type_of(node, "Type");
        if matches!(node.get(&Value::from("DefaultValue")), Some(Value::Object(_))) {
            self.word("=");
            self.value_of(node, "DefaultValue");
        }
        self.directives(node);
    }

    fn selections(&mut self, node: &Value) {
        self.list('{', '}', node, "SelectionSet", Self::selection);
    }

    fn selection(&mut self, selection: &Value) {
        let (alias, name) = (member(selection, "Alias"), member(selection, "Name"));
        match (alias, name) {
            ("", "") => {
                self.names_condition(selection);
                self.directives(selection);
            }
            ("", name) => {
                self.word(&format!("...{name}"));
                self.directives(selection);
                return;
            }
            (alias, name) => {
                self.word(alias);
                if alias != name && !name.is_empty() {
                    self.word(":");
                    self.word(name);
                }
                self.list('(', ')', selection, "Arguments", Self::argument);
                self.directives(selection);
            }
        }
        self.selections(selection);
    }

    /// The beginning of a fragment within a selection.
    fn names_condition(&mut self, selection: &Value) {
        self.word("...");
        let condition = member(selection, "TypeCondition");
        if !condition.is_empty() {
            self.word("on");
            self.word(condition);
        }
    }

    fn definition(&mut self, extend: &str, definition: &Value) -> Parsed<()> {
        let keyword = match member(definition, "Kind") {
            "SCALAR" => "scalar",
            "OBJECT" => "type",
            "INTERFACE" => "interface",
            "UNION" => "union",
            "ENUM" => "enum",
            "INPUT_OBJECT" => "input",
            other => return Err(failure(format!("a definition is of an unknown kind: {other:?}"))),
        };
        self.description(definition);
        self.word(extend);
        self.word(keyword);
        self.word(member(definition, "Name"));
        self.names("implements", "&", definition, "Interfaces");
        self.directives(definition);
        let field = if keyword == "input" { Self::input_value } else { Self::field };
        self.list('{', '}', definition, "Fields", field);
        self.names("=", "|", definition, "Types");
        self.list('{', '}', definition, "EnumValues", |printer, value| {
            printer.description(value);
            printer.word(member(value, "Name"));
            printer.directives(value);
        });
        self.text.push('\n');
        Ok(())
    }

    fn field(&mut self, field: &Value) {
        self.description(field);
        self.word(member(field, "Name"));
        self.list('(', ')', field, "Arguments", Self::input_value);
        self.word(":");
        self.type_of(field, "Type");
        self.directives(field);
    }

    fn input_value(&mut self, value: &Value) {
        self.description(value);
        self.word(member(value, "Name"));
        self.typed(value);
    }
}
