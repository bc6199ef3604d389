//! JSON Schemas by name, for the `schemas` of metadata annotations.

use std::collections::BTreeMap;

use super::schema::schema_type;
use crate::builtins::Type;
use crate::value::Value;

/// Schemas that annotations refer to as `schema.a.b`. The one without a further name is that of the whole input.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    types: BTreeMap<Vec<String>, Type>,
}

impl Schemas {
    /// No schema: annotations that refer to one are left out.
    #[must_use]
    pub fn new() -> Schemas {
        Schemas::default()
    }

    /// Adds a schema by the names after `schema`.
    ///
    /// # Errors
    /// What of the schema cannot be a type.
    pub fn add(&mut self, names: &[&str], schema: &Value) -> Result<(), String> {
        let kind = schema_type(schema)?;
        self.types.insert(names.iter().map(|name| (*name).to_owned()).collect(), kind);
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    pub(super) fn get(&self, names: &[String]) -> Option<&Type> {
        self.types.get(names)
    }

    /// The type of the input in all rules.
    pub(super) fn input(&self) -> Type {
        let root = self.types.get(&Vec::new()).or_else(|| self.types.get(&vec!["input".to_owned()]));
        root.cloned().unwrap_or(Type::Any)
    }
}
