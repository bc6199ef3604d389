//! The fields of a metadata block.

use std::sync::Arc;

use serde_yaml_ng::Value as Yaml;

use super::super::ast::{ExprKind, Term, TermKind};
use super::super::parser::{Options, parse_query};
use crate::value::{Number, Object, Value};

/// The longest block, in bytes.
const LONGEST: usize = 64 << 10;

/// How deep the values of a block may be.
const MAX_DEPTH: usize = 64;

/// What a block says.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) scope: String,
    pub(super) entrypoint: bool,
    title: String,
    description: String,
    organizations: Vec<Value>,
    related_resources: Vec<Value>,
    authors: Vec<Value>,
    schemas: Vec<Value>,
    custom: Option<Value>,
    labels: Option<Value>,
}

impl Fields {
    /// Reads a block's YAML.
    pub(super) fn read(yaml: &str) -> Result<Self, String> {
        if yaml.trim().is_empty() {
            return Err("expected METADATA block, found whitespace".into());
        }
        if yaml.len() > LONGEST {
            return Err(format!("metadata block too long: at most {} bytes", LONGEST));
        }
        if is_deep(yaml) {
            return Err(format!("metadata too deep: at most {MAX_DEPTH} levels"));
        }
        let document: Yaml = serde_yaml_ng::from_str(yaml).map_err(|error| format!("yaml: {error}"))?;
        let mut fields = Self::default();
        let Yaml::Mapping(entries) = document else {
            return Err("yaml: a metadata block must be a mapping".into());
        };
        for (key, value) in &entries {
            if let Some(key) = key.as_str().filter(|_| !value.is_null()) {
                fields.field(key, value)?;
            }
        }
        Ok(fields)
    }

    fn field(&mut self, key: &str, value: &Yaml) -> Result<(), String> {
        match key {
            "scope" => self.scope = text(key, value)?,
            "title" => self.title = text(key, value)?,
            "description" => self.description = text(key, value)?,
            "entrypoint" => {
                self.entrypoint = value.as_bool().ok_or_else(|| format!("yaml: `{key}` must be true or false"))?;
            }
            "organizations" => {
                for item in list(key, value)? {
                    self.organizations.push(Value::string(text(key, item)?));
                }
            }
            "related_resources" => {
                for item in list(key, value)? {
                    self.related_resources.push(related(item)?);
                }
            }
            "authors" => {
                for item in list(key, value)? {
                    self.authors.push(author(item)?);
                }
            }
            "schemas" => {
                for item in list(key, value)? {
                    self.schemas.push(schema(item)?);
                }
            }
            "custom" => self.custom = Some(mapping(key, value)?),
            "labels" => self.labels = Some(mapping(key, value)?),
            _ => {}
        }
        Ok(())
    }

    /// The block as an object.
    pub(super) fn value(self, scope: &str) -> Value {
        let mut members = vec![(Value::string("scope"), Value::string(scope))];
        let mut push = |key: &str, value: Value| members.push((Value::string(key), value));
        for (key, text) in [("title", self.title), ("description", self.description)] {
            if !text.is_empty() {
                push(key, Value::string(text));
            }
        }
        if self.entrypoint {
            push("entrypoint", Value::Bool(true));
        }
        let lists = [
            ("organizations", self.organizations),
            ("related_resources", self.related_resources),
            ("authors", self.authors),
            ("schemas", self.schemas),
        ];
        for (key, items) in lists {
            if !items.is_empty() {
                push(key, Value::from(items));
            }
        }
        for (key, value) in [("custom", self.custom), ("labels", self.labels)] {
            if let Some(value) = value.filter(|value| value.as_object().is_some_and(|object| !object.is_empty())) {
                push(key, value);
            }
        }
        Value::from(Object::from_vec(members))
    }
}

/// Whether more brackets may be open at once, or more list signs stand on a line, than a block may be deep.
fn is_deep(yaml: &str) -> bool {
    let mut open: usize = 0;
    for line in yaml.lines() {
        if line.trim_start().split(' ').take_while(|word| matches!(*word, "-" | "?" | ":" | "")).count() > MAX_DEPTH {
            return true;
        }
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MAX_DEPTH {
                return true;
            }
        }
    }
    false
}

fn text(key: &str, value: &Yaml) -> Result<String, String> {
    match value {
        Yaml::String(text) => Ok(text.clone()),
        Yaml::Bool(value) => Ok(value.to_string()),
        Yaml::Number(number) => Ok(number.to_string()),
        _ => Err(format!("yaml: `{key}` must be a string")),
    }
}

fn list<'a>(key: &str, value: &'a Yaml) -> Result<&'a [Yaml], String> {
    value.as_sequence().map(Vec::as_slice).ok_or_else(|| format!("yaml: `{key}` must be a list"))
}

fn mapping(key: &str, value: &Yaml) -> Result<Value, String> {
    if !value.is_mapping() {
        return Err(format!("yaml: `{key}` must be a mapping"));
    }
    convert(value, 0)
}

/// A YAML value as a value of the language.
fn convert(value: &Yaml, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("metadata too deep: at most {MAX_DEPTH} levels"));
    }
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(*value),
        Yaml::Number(number) => {
            let number = match number.as_i64() {
                Some(integer) => Some(Number::from(integer)),
                None => Number::parse(&number.to_string()),
            };
            Value::Number(number.ok_or("a number in metadata must be finite")?)
        }
        Yaml::String(text) => Value::string(text.as_str()),
        Yaml::Sequence(items) => {
            Value::from(items.iter().map(|item| convert(item, depth + 1)).collect::<Result<Vec<Value>, String>>()?)
        }
        Yaml::Mapping(entries) => {
            let mut members = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = key.as_str().ok_or("invalid map key type(s): keys must be strings")?;
                members.push((Value::string(key), convert(value, depth + 1)?));
            }
            Value::from(Object::from_vec(members))
        }
        Yaml::Tagged(tagged) => convert(&tagged.value, depth + 1)?,
    })
}

fn members(entries: &[(&str, &str)]) -> Value {
    let present = entries.iter().filter(|(_, text)| !text.is_empty());
    Value::from(Object::from_vec(present.map(|(key, text)| (Value::string(*key), Value::string(*text))).collect()))
}

fn member<'a>(value: &'a Yaml, key: &str) -> &'a str {
    value.get(key).and_then(Yaml::as_str).unwrap_or("").trim()
}

fn related(value: &Yaml) -> Result<Value, String> {
    match value {
        Yaml::String(text) if text.is_empty() => {
            Err("invalid related-resource definition: ref URL may not be empty string".into())
        }
        Yaml::String(text) => Ok(members(&[("ref", text)])),
        Yaml::Mapping(_) if member(value, "ref").is_empty() => {
            Err("invalid related-resource definition: 'ref' value required in object".into())
        }
        Yaml::Mapping(_) => {
            Ok(members(&[("ref", member(value, "ref")), ("description", member(value, "description"))]))
        }
        _ => Err("invalid related-resource definition: invalid value type, must be string or map".into()),
    }
}

fn author(value: &Yaml) -> Result<Value, String> {
    match value {
        Yaml::String(text) => {
            let mut words: Vec<&str> = text.split_whitespace().collect();
            let last = words.last().copied().ok_or("invalid author definition: author is an empty string")?;
            let email = last.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or("");
            if !email.is_empty() || last == "<>" {
                words.pop();
            }
            Ok(members(&[("name", &words.join(" ")), ("email", email)]))
        }
        Yaml::Mapping(_) => {
            let (name, email) = (member(value, "name"), member(value, "email"));
            if name.is_empty() && email.is_empty() {
                return Err("invalid author definition: 'name' and/or 'email' values required in object".into());
            }
            Ok(members(&[("name", name), ("email", email)]))
        }
        _ => Err("invalid author definition: invalid value type, must be string or map".into()),
    }
}

fn schema(value: &Yaml) -> Result<Value, String> {
    let entry = value.as_mapping().and_then(|entries| entries.iter().next());
    let (path, schema) = entry.ok_or("yaml: `schemas` must be a list of mappings")?;
    let path = path.as_str().unwrap_or("");
    let names = reference(path).ok_or("invalid document reference")?;
    let mut fields = vec![(Value::string("path"), strings(&names))];
    match schema {
        Yaml::String(text) => {
            let names = reference(text).filter(|names| names.first().is_some_and(|name| &**name == "schema"));
            fields.push((Value::string("schema"), strings(&names.ok_or("invalid schema reference")?)));
        }
        Yaml::Mapping(_) => fields.push((Value::string("definition"), convert(schema, 0)?)),
        _ => return Err(format!("invalid schema declaration for path {path:?}")),
    }
    Ok(Value::from(Object::from_vec(fields)))
}

fn strings(names: &[Arc<str>]) -> Value {
    Value::from(names.iter().map(|name| Value::string(name.clone())).collect::<Vec<Value>>())
}

/// The elements of a reference written as a text.
fn reference(text: &str) -> Option<Vec<Arc<str>>> {
    let body = parse_query("", text, Options::default()).ok()?;
    let [expr] = body.exprs.as_slice() else { return None };
    match &expr.kind {
        ExprKind::Term(term @ Term { kind: TermKind::Var(_) | TermKind::Ref { .. }, .. }) => term.static_path(),
        _ => None,
    }
}
