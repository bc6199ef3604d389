//! Is a document a JSON schema? And where do its references lead?

use std::collections::BTreeMap;

use super::context::{BuiltinError, Context, MAX_DEPTH, failure};
use super::operand::small;
use super::pattern::compiled;
use crate::value::{Object, Value};

pub(super) const TYPES: [&str; 7] = ["array", "boolean", "integer", "number", "null", "object", "string"];

/// A schema and the places that its identifiers name.
pub(super) struct Schema {
    pub(super) root: Value,
    ids: BTreeMap<String, Value>,
}

impl Schema {
    /// Checks a document and collects its identifiers.
    pub(super) fn new(cx: &mut Context, root: Value) -> Result<Schema, BuiltinError> {
        cx.spend_value(&root)?;
        let mut schema = Schema { root: root.clone(), ids: BTreeMap::new() };
        schema.check(cx, &root, "", 0)?;
        Ok(schema)
    }

    /// The schema that a reference names: a pointer into this document, or an identifier.
    pub(super) fn resolve(&self, base: &str, reference: &str) -> Result<&Value, BuiltinError> {
        let unknown = || failure(format!("reference {} is not available", Value::from(reference)));
        let full = joined(base, reference);
        let (document, pointer) = full.split_once('#').unwrap_or((&full, ""));
        if let Some(found) = self.ids.get(&full).or_else(|| self.ids.get(reference)) {
            return Ok(found);
        }
        let start = if document.is_empty() { Some(&self.root) } else { self.ids.get(document) };
        let own = self.root.get(&Value::from("$id")).or_else(|| self.root.get(&Value::from("id")));
        let start = start.or_else(|| (own.and_then(Value::as_str) == Some(document)).then_some(&self.root));
        let steps = pointer.strip_prefix('/').map(|rest| rest.split('/')).into_iter().flatten();
        let found = steps.fold(start, |value, step| {
            let step = step.replace("%25", "%").replace("~1", "/").replace("~0", "~");
            match value? {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?),
                other => other.get(&Value::from(step)),
            }
        });
        found.ok_or_else(unknown)
    }

    fn check(&mut self, cx: &mut Context, value: &Value, base: &str, depth: usize) -> Result<(), BuiltinError> {
        if depth > MAX_DEPTH {
            return Err(failure("schema is nested too deeply"));
        }
        let object = match value {
            Value::Object(object) => object,
            Value::Bool(_) => return Ok(()),
            _ => return Err(failure("schema must be of type object")),
        };
        let id = object.get_str("$id").or_else(|| object.get_str("id")).and_then(Value::as_str);
        let base = match id {
            Some(id) => joined(base, id),
            None => base.to_owned(),
        };
        if id.is_some() {
            self.ids.insert(base.trim_end_matches('#').to_owned(), value.clone());
        }
        if let Some(reference) = object.get_str("$ref") {
            return match reference.as_str() {
                Some(_) => Ok(()),
                None => Err(failure("$ref must be of type string")),
            };
        }
        check_keywords(cx, object)?;
        for key in ["not", "if", "then", "else", "contains", "propertyNames", "additionalProperties", "additionalItems"]
        {
            if let Some(inner) = object.get_str(key) {
                self.check(cx, inner, &base, depth + 1)?;
            }
        }
        for key in ["properties", "patternProperties", "definitions", "$defs", "dependencies"] {
            let Some(inner) = object.get_str(key) else { continue };
            let members = inner.as_object().ok_or_else(|| failure(format!("{key} must be of type object")))?;
            for (name, schema) in members.iter() {
                if key == "patternProperties" {
                    let name = name.as_str().unwrap_or_default();
                    compiled(cx, name).map_err(|_| failure(format!("Invalid regex pattern '{name}'")))?;
                }
                if key != "dependencies" || schema.as_array().is_none() {
                    self.check(cx, schema, &base, depth + 1)?;
                }
            }
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            let Some(inner) = object.get_str(key) else { continue };
            let all = inner.as_array().filter(|all| !all.is_empty());
            for schema in all.ok_or_else(|| failure(format!("{key} must be of an array")))?.iter() {
                self.check(cx, schema, &base, depth + 1)?;
            }
        }
        match object.get_str("items") {
            Some(Value::Array(all)) => all.iter().try_for_each(|schema| self.check(cx, schema, &base, depth + 1)),
            Some(one) => self.check(cx, one, &base, depth + 1),
            None => Ok(()),
        }
    }
}

/// A reference relative to a base: absolute ones and pointers replace it as RFC 3986 says for these forms.
fn joined(base: &str, reference: &str) -> String {
    let document = base.split('#').next().unwrap_or_default();
    if reference.starts_with('#') {
        return format!("{document}{reference}");
    }
    if reference.contains(':') || document.is_empty() {
        return reference.to_owned();
    }
    match document.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{reference}"),
        None => reference.to_owned(),
    }
}

fn check_keywords(cx: &mut Context, object: &Object) -> Result<(), BuiltinError> {
    check_types(object)?;
    for key in ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"] {
        let Some(value) = object.get_str(key) else { continue };
        let size = value.as_number().and_then(small);
        let size = size.ok_or_else(|| failure(format!("{key} must be of an integer")))?;
        if size < 0 {
            return Err(failure(format!("{key} must be greater than or equal to 0")));
        }
    }
    for key in ["minimum", "maximum"] {
        if object.get_str(key).is_some_and(|value| value.as_number().is_none()) {
            return Err(failure(format!("{key} must be of a number")));
        }
    }
    for (key, needs) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match object.get_str(key) {
            None | Some(Value::Number(_)) => {}
            Some(Value::Bool(true)) if object.get_str(needs).is_none() => {
                return Err(failure(format!("{key} cannot be used without {needs}")));
            }
            Some(Value::Bool(_)) => {}
            Some(_) => return Err(failure(format!("{key} must be of a boolean/number"))),
        }
    }
    if let Some(value) = object.get_str("multipleOf") {
        let number = value.as_number().ok_or_else(|| failure("Invalid type. Expected: number, given: multipleOf"))?;
        if *number <= crate::value::Number::ZERO {
            return Err(failure("multipleOf must be strictly greater than 0"));
        }
    }
    if let Some(value) = object.get_str("pattern") {
        let pattern = value.as_str().ok_or_else(|| failure("Invalid type. Expected: string, given: pattern"))?;
        compiled(cx, pattern).map_err(|_| failure("pattern must be a valid regex"))?;
    }
    if object.get_str("uniqueItems").is_some_and(|value| value.as_bool().is_none()) {
        return Err(failure("uniqueItems must be of a boolean"));
    }
    check_lists(object)
}

fn check_types(object: &Object) -> Result<(), BuiltinError> {
    let names = match object.get_str("type") {
        None => return Ok(()),
        Some(Value::Array(names)) => names.to_vec(),
        Some(one) => vec![one.clone()],
    };
    for name in names {
        let name = name.as_str().ok_or_else(|| failure("Invalid type. Expected: string/array, given: type"))?;
        if !TYPES.contains(&name) {
            let expected = TYPES.join(" ");
            return Err(failure(format!(
                "has a primitive type that is NOT VALID -- given: /{name}/ Expected valid values are:[{expected}]"
            )));
        }
    }
    Ok(())
}

fn check_lists(object: &Object) -> Result<(), BuiltinError> {
    if let Some(required) = object.get_str("required") {
        let names = required.as_array().ok_or_else(|| failure("required must be of an array"))?;
        if names.iter().any(|name| name.as_str().is_none()) {
            return Err(failure("required items must be string"));
        }
        if names.iter().enumerate().any(|(at, name)| names.iter().take(at).any(|other| other == name)) {
            return Err(failure("required items must be unique"));
        }
    }
    if object.get_str("enum").is_some_and(|value| value.as_array().is_none()) {
        return Err(failure("enum must be of an array"));
    }
    Ok(())
}
