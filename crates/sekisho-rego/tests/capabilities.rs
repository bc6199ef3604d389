//! The signatures of built-in functions, compared with OPA's `capabilities.json`.

#[cfg(test)]
#[expect(dead_code, reason = "the conformance tests use more of it")]
mod opa;

use std::collections::BTreeSet;

use sekisho_rego::builtins::{self, Type};
use sekisho_rego::value::Value;

/// A function in words that both sides can form.
type Row = (String, Vec<String>, String, String, bool);

#[test]
fn signatures_are_those_of_opa() {
    let file = opa::folder().and_then(|folder| Some(folder.ancestors().nth(4)?.join("capabilities.json")));
    let Some(text) = file.and_then(|file| std::fs::read_to_string(file).ok()) else {
        return opa::skipped("OPA's capabilities.json is not in the module cache");
    };
    let capabilities = Value::from_json(&text).unwrap();
    let theirs: BTreeSet<Row> = items(member(&capabilities, "builtins")).iter().map(their_row).collect();
    let own: BTreeSet<Row> = builtins::signatures().iter().map(own_row).collect();
    let missing: Vec<&Row> = theirs.difference(&own).collect();
    let more: Vec<&Row> = own.difference(&theirs).collect();
    assert!(theirs.len() > 200 && missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
}

fn their_row(builtin: &Value) -> Row {
    let text = |name| member(builtin, name).as_str().unwrap_or_default().to_owned();
    let declared = member(builtin, "decl");
    let mut arguments: Vec<String> = items(member(declared, "args")).iter().map(their_type).collect();
    if let Some(any_number) = declared.get(&Value::from("variadic")) {
        arguments.push(format!("..{}", their_type(any_number)));
    }
    let result = declared.get(&Value::from("result")).map(their_type).unwrap_or_default();
    let is_deprecated = member(builtin, "deprecated").as_bool().unwrap_or(false);
    (text("name"), arguments, result, text("infix"), is_deprecated)
}

/// The kind of a type, without what is within it.
fn their_type(described: &Value) -> String {
    member(described, "type").as_str().unwrap_or_default().to_owned()
}

fn own_row(own: &builtins::Signature) -> Row {
    let mut arguments: Vec<String> = own.arguments.iter().map(own_type).collect();
    arguments.extend(own.variadic.iter().map(|any_number| format!("..{}", own_type(any_number))));
    let result = own.result.as_ref().map(own_type).unwrap_or_default();
    (own.name.clone(), arguments, result, own.infix.clone().unwrap_or_default(), own.deprecated)
}

fn own_type(kind: &Type) -> String {
    let name = match kind {
        Type::Any | Type::Union(_) => "any",
        Type::Null => "null",
        Type::Bool => "boolean",
        Type::Number => "number",
        Type::String => "string",
        Type::Array(..) => "array",
        Type::Set(_) => "set",
        Type::Object(..) => "object",
    };
    name.to_owned()
}

fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(&Value::from(name)).unwrap_or(&Value::Null)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], |array| array)
}
