//! `json.match_schema` and `json.verify_schema`: JSON Schema of drafts 4, 6 and 7.

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::encoding::plain;
use super::operand::{any, small};
use super::pattern::compiled;
use super::schema_check::Schema;
use super::schema_format::has_format;
use super::schema_report::{Report, check_number, type_of, wrong_type};
use crate::value::{Object, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] =
    &[("json.verify_schema", verify_schema), ("json.match_schema", match_schema)];

/// The deepest nesting of a document and its schema together.
const MAX_NESTING: usize = 400;

/// A document: an object or array, or a text of JSON.
fn document(cx: &mut Context, value: &Value) -> Result<Value, BuiltinError> {
    match value {
        Value::String(text) => {
            cx.spend(text.len().saturating_mul(2))?;
            Value::from_json(text).map_err(|_| failure("invalid JSON string"))
        }
        Value::Object(_) | Value::Array(_) => plain(cx, value),
        _ => Err(failure("wrong type, expected string or object")),
    }
}

fn verify_schema(cx: &mut Context, args: &[Value]) -> Outcome {
    let schema = document(cx, any(args, 0)?).and_then(|schema| Schema::new(cx, schema));
    match schema {
        Err(error) if error.is_fatal() => Err(error),
        Err(error) => done(vec![Value::from(false), Value::from(format!("jsonschema: {}", error.message))]),
        Ok(_) => done(vec![Value::from(true), Value::Null]),
    }
}

fn match_schema(cx: &mut Context, args: &[Value]) -> Outcome {
    let value = document(cx, any(args, 0)?)?;
    let root = document(cx, any(args, 1)?)?;
    let schema = Schema::new(cx, root)?;
    let mut report = Report::default();
    let mut validator = Validator { cx, schema: &schema, depth: 0 };
    validator.validate(&schema.root, &value, "(root)", &mut report)?;
    let valid = report.is_valid();
    done(vec![Value::from(valid), Value::from(report.into_failures())])
}

struct Validator<'a, 'c> {
    cx: &'c mut Context,
    schema: &'a Schema,
    depth: usize,
}

impl<'a> Validator<'a, '_> {
    fn part(&mut self, schema: &'a Value, value: &Value, place: &str) -> Result<Report, BuiltinError> {
        let mut report = Report::default();
        self.validate(schema, value, place, &mut report)?;
        Ok(report)
    }

    fn validate(
        &mut self,
        schema: &'a Value,
        value: &Value,
        place: &str,
        report: &mut Report,
    ) -> Result<(), BuiltinError> {
        self.cx.spend(20 + place.len())?;
        if self.depth >= MAX_NESTING {
            return Err(failure("schema or document is nested too deeply"));
        }
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(false) => {
                report.add("false", place, "False always fails validation");
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.depth += 1;
        let result = self.keywords(object, value, place, report);
        self.depth -= 1;
        result
    }

    fn keywords(
        &mut self,
        schema: &'a Object,
        value: &Value,
        place: &str,
        report: &mut Report,
    ) -> Result<(), BuiltinError> {
        if let Some(reference) = schema.get_str("$ref").and_then(Value::as_str) {
            let target = self.schema.resolve("", reference)?;
            return self.validate(target, value, place, report);
        }
        if let Some(expected) = wrong_type(schema, value) {
            let given = type_of(value);
            report.add("invalid_type", place, format!("Invalid type. Expected: {expected}, given: {given}"));
            return Ok(());
        }
        self.combined(schema, value, place, report)?;
        match value {
            Value::Number(number) => check_number(schema, number, place, report),
            Value::Array(items) => self.array(schema, items, place, report)?,
            Value::Object(members) => self.object(schema, members, place, report)?,
            _ => {}
        }
        self.common(schema, value, place, report)?;
        if let Value::String(text) = value {
            self.string(schema, text, place, report)?;
        }
        if let (Value::Object(members), Some(Value::Object(properties))) = (value, schema.get_str("properties")) {
            for (name, inner) in properties.iter() {
                if let Some(member) = members.get(name) {
                    self.validate(inner, member, &format!("{place}.{}", name.as_str().unwrap_or_default()), report)?;
                }
            }
        }
        report.score += 1;
        Ok(())
    }

    /// `allOf`, `anyOf`, `oneOf`, `not`, `dependencies` and `if`.
    fn combined(
        &mut self,
        schema: &'a Object,
        value: &Value,
        place: &str,
        report: &mut Report,
    ) -> Result<(), BuiltinError> {
        let list = |key: &str| schema.get_str(key).and_then(Value::as_array).map(|all| &**all).unwrap_or_default();
        for (key, kind, text) in [
            ("anyOf", "number_any_of", "Must validate at least one schema (anyOf)"),
            ("oneOf", "number_one_of", "Must validate one and only one schema (oneOf)"),
        ] {
            let (mut matched, mut best, all) = (0, None::<Report>, list(key));
            for inner in all {
                let found = self.part(inner, value, place)?;
                if found.is_valid() {
                    matched += 1;
                } else if best.as_ref().is_none_or(|best| found.score > best.score) {
                    best = Some(found);
                }
            }
            let fails = if key == "anyOf" { matched == 0 } else { matched != 1 };
            if fails && !all.is_empty() {
                report.add(kind, place, text);
                if let Some(best) = best.filter(|_| matched == 0) {
                    report.merge(best);
                }
            }
        }
        let mut all_match = true;
        for inner in list("allOf") {
            let found = self.part(inner, value, place)?;
            all_match &= found.is_valid();
            report.merge(found);
        }
        if !all_match {
            report.add("number_all_of", place, "Must validate all the schemas (allOf)");
        }
        if let Some(inner) = schema.get_str("not")
            && self.part(inner, value, place)?.is_valid()
        {
            report.add("number_not", place, "Must not validate the schema (not)");
        }
        self.dependencies(schema, value, place, report)?;
        if let Some(condition) = schema.get_str("if") {
            let holds = self.part(condition, value, place)?.is_valid();
            let (key, kind, text) = if holds {
                ("then", "condition_then", "Must validate \"then\" as \"if\" was valid")
            } else {
                ("else", "condition_else", "Must validate \"else\" as \"if\" was not valid")
            };
            if let Some(inner) = schema.get_str(key) {
                let found = self.part(inner, value, place)?;
                if !found.is_valid() {
                    report.add(kind, place, text);
                    report.merge(found);
                }
            }
        }
        Ok(())
    }

    fn dependencies(
        &mut self,
        schema: &'a Object,
        value: &Value,
        place: &str,
        report: &mut Report,
    ) -> Result<(), BuiltinError> {
        let (Some(Value::Object(all)), Value::Object(members)) = (schema.get_str("dependencies"), value) else {
            return Ok(());
        };
        for (_, dependency) in all.iter().filter(|(name, _)| members.get(name).is_some()) {
            match dependency {
                Value::Array(names) => {
                    for name in names.iter().filter(|name| members.get(name).is_none()) {
                        let name = name.as_str().unwrap_or_default();
                        report.add("missing_dependency", place, format!("Has a dependency on {name}"));
                    }
                }
                inner => self.validate(inner, value, place, report)?,
            }
        }
        Ok(())
    }

    /// `const`, `enum` and `format`.
    fn common(&mut self, schema: &Object, value: &Value, place: &str, report: &mut Report) -> Result<(), BuiltinError> {
        let field = place.strip_prefix("(root).").unwrap_or(place);
        if let Some(wanted) = schema.get_str("const")
            && wanted != value
        {
            report.add("const", place, format!("{field} does not match: {}", wanted.to_json()));
        }
        if let Some(Value::Array(allowed)) = schema.get_str("enum")
            && !allowed.contains(value)
        {
            let texts = allowed.iter().map(Value::to_json).collect::<Vec<_>>().join(", ");
            self.cx.spend(texts.len())?;
            report.add("enum", place, format!("{field} must be one of the following: {texts}"));
        }
        if let Some(format) = schema.get_str("format").and_then(Value::as_str)
            && let Value::String(text) = value
            && !has_format(self.cx, format, text)?
        {
            report.add("format", place, format!("Does not match format '{format}'"));
        }
        Ok(())
    }

    fn string(&mut self, schema: &Object, text: &str, place: &str, report: &mut Report) -> Result<(), BuiltinError> {
        let size = text.chars().count() as i64;
        self.cx.spend(text.len())?;
        let bound = |key| schema.get_str(key).and_then(Value::as_number).and_then(small);
        if let Some(least) = bound("minLength").filter(|least| size < *least) {
            report.add("string_gte", place, format!("String length must be greater than or equal to {least}"));
        }
        if let Some(most) = bound("maxLength").filter(|most| size > *most) {
            report.add("string_lte", place, format!("String length must be less than or equal to {most}"));
        }
        if let Some(pattern) = schema.get_str("pattern").and_then(Value::as_str)
            && !compiled(self.cx, pattern)?.is_match(text)
        {
            report.add("pattern", place, format!("Does not match pattern '{pattern}'"));
        }
        Ok(())
    }

    fn array(
        &mut self,
        schema: &'a Object,
        items: &[Value],
        place: &str,
        report: &mut Report,
    ) -> Result<(), BuiltinError> {
        let (each, first) = match schema.get_str("items") {
            Some(Value::Array(all)) => (schema.get_str("additionalItems"), &**all),
            one => (one, [].as_slice()),
        };
        let positional = !first.is_empty();
        for (at, item) in items.iter().enumerate() {
            let inner = match (first.get(at), each) {
                (Some(inner), _) => inner,
                (None, Some(Value::Bool(false))) if positional => {
                    if at == first.len() {
                        report.add("array_no_additional_items", place, "No additional items allowed on array");
                    }
                    continue;
                }
                (None, Some(inner)) => inner,
                (None, None) => continue,
            };
            let found = self.part(inner, item, &format!("{place}.{at}"))?;
            report.merge(found);
        }
        let size = items.len() as i64;
        let bound = |key| schema.get_str(key).and_then(Value::as_number).and_then(small);
        if let Some(least) = bound("minItems").filter(|least| size < *least) {
            report.add("array_min_items", place, format!("Array must have at least {least} items"));
        }
        if let Some(most) = bound("maxItems").filter(|most| size > *most) {
            report.add("array_max_items", place, format!("Array must have at most {most} items"));
        }
        if schema.get_str("uniqueItems") == Some(&Value::Bool(true)) {
            self.cx.spend(items.len().saturating_mul(8))?;
            let mut order: Vec<(usize, &Value)> = items.iter().enumerate().collect();
            order.sort_by(|(i, a), (j, b)| a.cmp(b).then(i.cmp(j)));
            for pair in order.windows(2) {
                if let [(i, a), (j, b)] = pair
                    && a == b
                {
                    report.add("unique", place, format!("array items[{i},{j}] must be unique"));
                }
            }
        }
        if let Some(inner) = schema.get_str("contains") {
            let mut best = None::<Report>;
            for (at, item) in items.iter().enumerate() {
                let found = self.part(inner, item, &format!("{place}.{at}"))?;
                if found.is_valid() {
                    return Ok(());
                }
                if best.as_ref().is_none_or(|best| found.score > best.score) {
                    best = Some(found);
                }
            }
            report.add("contains", place, "At least one of the items must match");
            if let Some(best) = best {
                report.merge(best);
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        schema: &'a Object,
        members: &Object,
        place: &str,
        report: &mut Report,
    ) -> Result<(), BuiltinError> {
        let size = members.len() as i64;
        let bound = |key| schema.get_str(key).and_then(Value::as_number).and_then(small);
        if let Some(least) = bound("minProperties").filter(|least| size < *least) {
            report.add("array_min_properties", place, format!("Must have at least {least} properties"));
        }
        if let Some(most) = bound("maxProperties").filter(|most| size > *most) {
            report.add("array_max_properties", place, format!("Must have at most {most} properties"));
        }
        for name in schema.get_str("required").and_then(Value::as_array).into_iter().flat_map(|all| all.iter()) {
            if members.get(name).is_some() {
                report.score += 1;
            } else {
                report.add("required", place, format!("{} is required", name.as_str().unwrap_or_default()));
            }
        }
        let properties = schema.get_str("properties").and_then(Value::as_object);
        let patterns = schema.get_str("patternProperties").and_then(Value::as_object);
        for (key, member) in members.iter() {
            let name = key.as_str().unwrap_or_default();
            let below = format!("{place}.{name}");
            let mut described = properties.is_some_and(|properties| properties.get(key).is_some());
            for (pattern, inner) in patterns.into_iter().flat_map(Object::iter) {
                if compiled(self.cx, pattern.as_str().unwrap_or_default())?.is_match(name) {
                    described = true;
                    let found = self.part(inner, member, &below)?;
                    report.merge(found);
                }
            }
            match schema.get_str("additionalProperties").filter(|_| !described) {
                Some(Value::Bool(false)) => {
                    let text = format!("Additional property {name} is not allowed");
                    report.add("additional_property_not_allowed", place, text);
                }
                Some(inner) => {
                    let found = self.part(inner, member, &below)?;
                    report.merge(found);
                }
                None => {}
            }
            if let Some(inner) = schema.get_str("propertyNames") {
                let found = self.part(inner, key, place)?;
                if !found.is_valid() {
                    let text = format!("Property name of \"{name}\" does not match");
                    report.add("invalid_property_name", place, text);
                    report.merge(found);
                }
            }
        }
        Ok(())
    }
}
