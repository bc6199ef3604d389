//! `graphql.*`: queries and schemas as objects, and whether they are valid.
//!
//! The objects are those of OPA, which knows whether a text is a block and takes variables of fragments. No parser of
//! others keeps that, so there is one here; what is valid is a library's to say.

mod lexer;
mod parser;
mod print;
mod query;
mod schema;
mod verify;

use super::context::{BuiltinError, Context, Function, Outcome, done};
use super::operand::{any, string, type_error};
use crate::value::Value;
use parser::{Parsed, Parser};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("graphql.is_valid", is_valid),
    ("graphql.parse", parse),
    ("graphql.parse_and_verify", parse_and_verify),
    ("graphql.parse_query", |cx, args| done(Parser::new(cx, string(args, 0)?)?.query()?)),
    ("graphql.parse_schema", |cx, args| done(Parser::new(cx, string(args, 0)?)?.schema()?)),
    ("graphql.schema_is_valid", schema_is_valid),
];

/// A document as its text and as the object that it is parsed to.
struct Document {
    text: String,
    node: Value,
}

impl Document {
    fn query(cx: &mut Context, args: &[Value], index: usize) -> Parsed<Document> {
        let text = text(cx, args, index, print::query)?;
        let node = Parser::new(cx, &text)?.query()?;
        Ok(Document { text, node })
    }

    fn schema(cx: &mut Context, args: &[Value], index: usize) -> Parsed<Document> {
        let text = text(cx, args, index, print::schema)?;
        let node = Parser::new(cx, &text)?.schema()?;
        Ok(Document { text, node })
    }
}

/// An argument that is a text, or the object of one.
fn text(
    cx: &mut Context,
    args: &[Value],
    index: usize,
    print: fn(&mut Context, &Value) -> Parsed<String>,
) -> Parsed<String> {
    match any(args, index)? {
        Value::String(text) => Ok((**text).to_owned()),
        document @ Value::Object(_) => print(cx, document),
        _ => Err(type_error(args, index, &["string", "object"])),
    }
}

/// A query and a schema for which it is valid.
fn verified(cx: &mut Context, args: &[Value]) -> Parsed<(Value, Value)> {
    let query = Document::query(cx, args, 0)?;
    let schema = Document::schema(cx, args, 1)?;
    let checked = verify::schema(cx, &schema.text)?;
    verify::query(cx, &checked, &query.text)?;
    Ok((query.node, schema.node))
}

/// None where it failed, but for a spent budget.
fn attempted<T>(parsed: Parsed<T>) -> Result<Option<T>, BuiltinError> {
    match parsed {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_fatal() => Err(error),
        Err(_) => Ok(None),
    }
}

fn is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let valid = attempted(verified(cx, args))?;
    done(valid.is_some())
}

fn parse(cx: &mut Context, args: &[Value]) -> Outcome {
    let (query, schema) = verified(cx, args)?;
    done(vec![query, schema])
}

fn parse_and_verify(cx: &mut Context, args: &[Value]) -> Outcome {
    let (valid, query, schema) = match attempted(verified(cx, args))? {
        Some((query, schema)) => (true, query, schema),
        None => (false, Value::empty_object(), Value::empty_object()),
    };
    done(vec![Value::Bool(valid), query, schema])
}

fn schema_is_valid(cx: &mut Context, args: &[Value]) -> Outcome {
    let checked = match Document::schema(cx, args, 0) {
        Ok(schema) => verify::schema(cx, &schema.text).map(drop),
        Err(error) => Err(error),
    };
    let valid = attempted(checked)?;
    done(valid.is_some())
}
