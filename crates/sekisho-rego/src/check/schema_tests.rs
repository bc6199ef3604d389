//! Schemas in annotations.

use super::{Options, Schemas, check_with};
use crate::syntax::{self, parse_module};
use crate::value::Value;

const REQUEST: &str = r##"{"type": "object", "properties": {
    "method": {"type": "string"}, "size": {"type": "integer"},
    "roles": {"type": "array", "items": {"$ref": "#/definitions/role"}},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "owner": {"anyOf": [{"type": "string"}, {"type": "null"}]}
}, "definitions": {"role": {"type": "object", "properties": {"name": {"type": "string"}}}}}"##;

/// The first error of a module, or nothing.
fn refused(text: &str, schemas: &Schemas) -> String {
    let module = parse_module("m.rego", text, syntax::Options::default()).unwrap();
    let errors = check_with(&[module], Options::default(), schemas).err().unwrap_or_default();
    errors.first().map(|error| format!("{}: {}", error.span.line, error.full_message())).unwrap_or_default()
}

fn schemas() -> Schemas {
    let mut schemas = Schemas::new();
    schemas.add(&["request"], &Value::from_json(REQUEST).unwrap()).unwrap();
    schemas
}

fn annotated(rule: &str) -> String {
    format!("package a\n\n# METADATA\n# scope: rule\n# schemas:\n#   - input: schema.request\n{rule}\n")
}

#[test]
fn an_annotation_gives_the_input_a_type() {
    for (rule, message) in [
        ("p if input.method == \"GET\"", ""),
        ("p if input.roles[_].name == \"x\"", ""),
        ("p if input.labels.anything == \"x\"", ""),
        ("p if input.owner == null", ""),
        ("p if input.methd == \"GET\"", "7: undefined ref: input.methd"),
        ("p if input.size == \"1\"", "7: match error (hints: left: number, right: string)"),
        ("p if input.roles[_].nam == \"x\"", "7: undefined ref: input.roles[_].nam"),
        ("p if input.labels.x == 1", "7: match error"),
        ("p if startswith(input.size, \"x\")", "7: startswith: invalid argument(s)"),
        ("p if input.owner == 1", "7: match error"),
    ] {
        let found = refused(&annotated(rule), &schemas());
        assert!(found.starts_with(message) && found.is_empty() == message.is_empty(), "{rule}: {found}");
    }
}

#[test]
fn a_definition_needs_no_file() {
    let text = "package a\n\n# METADATA\n# schemas:\n\
                #   - input.user: {type: object, properties: {id: {type: string}}}\np if input.user.idd == 1\n";
    assert!(refused(text, &Schemas::new()).starts_with("6: undefined ref: input.user.idd"));
    assert_eq!(refused(&text.replace("user.idd == 1", "other"), &Schemas::new()), "");
}

#[test]
fn a_scope_says_where_an_annotation_holds() {
    let module = |scope: &str, place: &str| {
        let note = format!("# METADATA\n# scope: {scope}\n# schemas:\n#   - input: schema.request\n");
        let (above, below) = if place == "package" { (note.as_str(), "") } else { ("", note.as_str()) };
        format!("{above}package a\n\n{below}p if input.x\n\np if input.method\n\nq if input.y\n")
    };
    let line = |text: &str| refused(text, &schemas()).split(':').next().unwrap_or_default().to_owned();
    assert_eq!(line(&module("rule", "rule")), "7");
    assert_eq!(line(&module("document", "rule")), "7");
    assert_eq!(line(&module("package", "package")), "7");
    assert_eq!(line(&module("subpackages", "package")), "7");
    // Of one rule only, and of all rules of its name.
    let other = |scope: &str| {
        module(scope, "rule").replace("p if input.x", "p if input.method").replacen(
            "p if input.method\n\nq",
            "p if input.z\n\nq",
            1,
        )
    };
    assert_eq!(line(&other("rule")), "");
    assert_eq!(line(&other("document")), "9");
}

#[test]
fn without_schemas_a_reference_is_left_out() {
    let text = annotated("p if input.methd");
    assert_eq!(refused(&text, &Schemas::new()), "");
    let mut other = Schemas::new();
    other.add(&["other"], &Value::from_json("{}").unwrap()).unwrap();
    assert!(refused(&text, &other).contains("undefined schema: schema.request"));
}

#[test]
fn the_root_schema_is_that_of_the_input() {
    let mut schemas = Schemas::new();
    schemas.add(&[], &Value::from_json(REQUEST).unwrap()).unwrap();
    assert!(refused("package a\n\np if input.methd\n", &schemas).starts_with("3: undefined ref: input.methd"));
    assert_eq!(refused("package a\n\np if input.x with input as {\"x\": 1}\n", &schemas), "");
}

#[test]
fn a_broken_schema_is_named() {
    let error = |text: &str| Schemas::new().add(&[], &Value::from_json(text).unwrap()).unwrap_err();
    assert_eq!(error("[]"), "a schema is an object, not array");
    assert!(error(r#"{"type": "text"}"#).starts_with("`text` is not a type"));
    assert_eq!(error(r##"{"$ref": "#/none"}"##), "`$ref` \"#/none\" leads to nothing");
    assert!(error(r#"{"$ref": "http://x/y"}"#).contains("another document"));
    assert!(error(r#"{"allOf": [{"type": "string"}, {"type": "number"}]}"#).contains("asks for string and for number"));
    // One that refers to itself ends.
    let own = r##"{"type": "object", "properties": {"next": {"$ref": "#"}}}"##;
    assert!(Schemas::new().add(&[], &Value::from_json(own).unwrap()).is_ok());
}
