//! Whether schemas and queries are valid, by the compiler of Apollo.
//!
//! It follows the specification. OPA's library has no rule that a schema needs operations, and takes an extension of a
//! type that is not defined for its definition; so do we.

use apollo_compiler::parser::Parser;
use apollo_compiler::schema::{ExtendedType, FieldDefinition, ObjectType, SchemaBuilder, Type};
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{Name, Node, Schema};

use super::parser::Parsed;
use crate::builtins::context::{BuiltinError, Context, failure};

/// The work of a byte of text that is checked.
const OF_BYTE: usize = 200;

/// How deep a text may be nested.
const DEEPEST: usize = 200;

/// A schema that is valid.
pub(super) struct Checked {
    schema: Valid<Schema>,
    /// Whether it has queries.
    queries: bool,
}

fn refused(errors: &DiagnosticList) -> BuiltinError {
    let first = errors.iter().next();
    let message = first.as_ref().map(|error| error.error.to_string()).unwrap_or_default();
    let place = first.and_then(|error| error.line_column_range()).map(|range| range.start);
    match place {
        Some(place) => failure(format!("{message} in GraphQL string at location {}:{}", place.line, place.column)),
        None => failure(format!("GraphQL parse error: {message}")),
    }
}

fn parser() -> Parser {
    Parser::new().recursion_limit(DEEPEST)
}

/// Checks a schema.
pub(super) fn schema(cx: &mut Context, text: &str) -> Parsed<Checked> {
    cx.spend(text.len().saturating_mul(OF_BYTE))?;
    let mut builder = SchemaBuilder::new().adopt_orphan_extensions();
    parser().parse_into_schema_builder(text, "input", &mut builder);
    let mut schema = builder.build().map_err(|error| refused(&error.errors))?;
    let queries = schema.schema_definition.query.is_some();
    if !queries {
        add_query(&mut schema);
    }
    let schema = schema.validate().map_err(|error| refused(&error.errors))?;
    Ok(Checked { schema, queries })
}

/// Adds a type of queries, which the specification wants.
fn add_query(schema: &mut Schema) {
    let named = |number: usize| Name::new(&format!("Query{number}")).ok();
    let free = (0..).filter_map(named).find(|name| !schema.types.contains_key(name));
    let (Some(name), Ok(field)) = (free, Name::new("none")) else { return };
    let Ok(boolean) = Name::new("Boolean") else { return };
    let definition = FieldDefinition {
        description: None,
        name: field.clone(),
        arguments: Vec::new(),
        ty: Type::Named(boolean),
        directives: Default::default(),
    };
    let object = ObjectType {
        description: None,
        name: name.clone(),
        implements_interfaces: Default::default(),
        directives: Default::default(),
        fields: std::iter::once((field, Node::new(definition).into())).collect(),
    };
    schema.types.insert(name.clone(), ExtendedType::Object(Node::new(object)));
    schema.schema_definition.make_mut().query = Some(name.into());
}

/// Checks a query against a schema.
pub(super) fn query(cx: &mut Context, schema: &Checked, text: &str) -> Parsed<()> {
    cx.spend(text.len().saturating_mul(OF_BYTE))?;
    let parsed = parser().parse_executable(&schema.schema, text, "input").map_err(|error| refused(&error.errors))?;
    if !schema.queries && parsed.operations.iter().any(|operation| operation.is_query()) {
        return Err(failure("GraphQL parse error: the schema has no type of queries"));
    }
    parsed.validate(&schema.schema).map(drop).map_err(|error| refused(&error.errors))
}
