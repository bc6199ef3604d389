//! From a JSON Schema to a type. What a schema says beyond types (ranges, patterns, formats) is not looked at.

use super::lattice::any_of;
use crate::builtins::Type;
use crate::value::{Object, Value};

/// How deep a schema is followed; below it a value may be anything. A schema that refers to itself ends here.
const MOST_LEVELS: usize = 12;

/// How many parts of a schema are looked at, those that references repeat included.
const MOST_PARTS: usize = 10_000;

/// The type of the values that a schema allows.
///
/// As OPA has it, an object with `properties` has no further members unless `additionalProperties` says which.
///
/// # Errors
/// What of the schema cannot be a type.
pub(super) fn schema_type(schema: &Value) -> Result<Type, String> {
    Reader { root: schema, parts: 0 }.part(schema, 0)
}

struct Reader<'a> {
    root: &'a Value,
    parts: usize,
}

fn member<'v>(object: &'v Object, name: &str) -> Option<&'v Value> {
    object.get_str(name)
}

impl<'a> Reader<'a> {
    fn part(&mut self, schema: &'a Value, level: usize) -> Result<Type, String> {
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(format!("the schema has more than {MOST_PARTS} parts"));
        }
        if level >= MOST_LEVELS {
            return Ok(Type::Any);
        }
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(_) => return Ok(Type::Any),
            other => return Err(format!("a schema is an object, not {}", other.type_name())),
        };
        if let Some(reference) = member(object, "$ref") {
            let target = self.target(reference)?;
            return self.part(target, level + 1);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(parts) = member(object, choice) {
                let kinds = self.all(choice, parts, level)?;
                return Ok(any_of(kinds).unwrap_or(Type::Any));
            }
        }
        let own = self.own(object, level)?;
        match member(object, "allOf") {
            None => Ok(own),
            Some(parts) => {
                let kinds = self.all("allOf", parts, level)?;
                kinds.into_iter().try_fold(own, both)
            }
        }
    }

    fn all(&mut self, name: &str, parts: &'a Value, level: usize) -> Result<Vec<Type>, String> {
        let parts = parts.as_array().ok_or_else(|| format!("`{name}` is a list of schemas"))?;
        parts.iter().map(|part| self.part(part, level + 1)).collect()
    }

    /// The part of this document that a reference names.
    fn target(&self, reference: &Value) -> Result<&'a Value, String> {
        let text = reference.as_str().unwrap_or_default();
        let path = text.strip_prefix('#').ok_or_else(|| {
            format!("`$ref` {reference} leads to another document: put its definitions into this one")
        })?;
        let mut at = self.root;
        for key in path.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            at = at.get(&Value::from(key.as_str())).ok_or_else(|| format!("`$ref` {reference} leads to nothing"))?;
        }
        Ok(at)
    }

    /// What `type` says, and the parts that belong to it.
    fn own(&mut self, object: &'a Object, level: usize) -> Result<Type, String> {
        match member(object, "type") {
            Some(Value::String(name)) => self.named(name, object, level),
            Some(Value::Array(names)) => {
                let mut kinds = Vec::new();
                for name in names.iter() {
                    let name = name.as_str().ok_or("`type` is a name or a list of names")?;
                    kinds.push(self.named(name, object, level)?);
                }
                Ok(any_of(kinds).unwrap_or(Type::Any))
            }
            Some(_) => Err("`type` is a name or a list of names".to_owned()),
            None if member(object, "properties").is_some() => self.named("object", object, level),
            None if member(object, "items").is_some() => self.named("array", object, level),
            None => Ok(Type::Any),
        }
    }

    fn named(&mut self, name: &str, object: &'a Object, level: usize) -> Result<Type, String> {
        match name {
            "null" => Ok(Type::Null),
            "boolean" => Ok(Type::Bool),
            "integer" | "number" => Ok(Type::Number),
            "string" => Ok(Type::String),
            "array" => self.array(object, level),
            "object" => self.object(object, level),
            other => Err(format!(
                "`{other}` is not a type: write one of null, boolean, integer, number, string, array, object"
            )),
        }
    }

    fn array(&mut self, object: &'a Object, level: usize) -> Result<Type, String> {
        match member(object, "items") {
            None => Ok(Type::Array(Vec::new(), Some(Box::new(Type::Any)))),
            Some(Value::Array(_)) => {
                let items = member(object, "items").map_or(Ok(Vec::new()), |items| self.all("items", items, level))?;
                let more = match member(object, "additionalItems") {
                    Some(Value::Bool(false)) => None,
                    Some(more) => Some(Box::new(self.part(more, level + 1)?)),
                    None => Some(Box::new(Type::Any)),
                };
                Ok(Type::Array(items, more))
            }
            Some(items) => Ok(Type::Array(Vec::new(), Some(Box::new(self.part(items, level + 1)?)))),
        }
    }

    fn object(&mut self, object: &'a Object, level: usize) -> Result<Type, String> {
        let mut members = Vec::new();
        if let Some(properties) = member(object, "properties") {
            let properties = properties.as_object().ok_or("`properties` is an object of schemas")?;
            for (name, schema) in properties.iter() {
                let name = name.as_str().ok_or("`properties` is an object of schemas")?;
                members.push((name.to_owned(), self.part(schema, level + 1)?));
            }
        }
        let more = match member(object, "additionalProperties") {
            Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.part(schema, level + 1)?),
            None if members.is_empty() => Some(Type::Any),
            None => None,
        };
        Ok(Type::Object(members, more.map(|kind| Box::new((Type::String, kind)))))
    }
}

/// A type for what two schemas both allow.
fn both(a: Type, b: Type) -> Result<Type, String> {
    match (a, b) {
        (Type::Any, kind) | (kind, Type::Any) => Ok(kind),
        (Type::Object(mut a, more_a), Type::Object(b, more_b)) => {
            for (name, kind) in b {
                match a.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = both(std::mem::replace(known, Type::Any), kind)?,
                    None => a.push((name, kind)),
                }
            }
            // Each of both names members of its own.
            Ok(Type::Object(a, more_a.or(more_b)))
        }
        (a, b) if a == b => Ok(a),
        (a, b) => {
            let (a, b) = (super::show::show(&a), super::show::show(&b));
            Err(format!("`allOf` asks for {a} and for {b}"))
        }
    }
}

/// The type with the part at a path replaced; what is not an object on the way becomes one with this member.
pub(super) fn put(kind: Type, path: &[String], part: Type) -> Type {
    let Some((name, rest)) = path.split_first() else { return part };
    let (mut members, more) = match kind {
        Type::Object(members, more) => (members, more),
        _ => (Vec::new(), Some(Box::new((Type::Any, Type::Any)))),
    };
    match members.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = put(std::mem::replace(known, Type::Any), rest, part),
        None => members.push((name.clone(), put(Type::Any, rest, part))),
    }
    Type::Object(members, more)
}
