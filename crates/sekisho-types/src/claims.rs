//! What an identity carries besides its name: typed claims, attested or absent.

use std::collections::BTreeMap;

/// A claim's name, for example `hw_attested`.
pub type ClaimName = String;

/// A claim's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    Bool(bool),
    Integer(i64),
    Text(String),
    /// Texts, for example the classes of hardware that attested.
    List(Vec<String>),
}

/// Claims by name, in one canonical order.
///
/// A claim that was not attested is absent; [`Claims::flag`] reads an absent claim as `false`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims(BTreeMap<ClaimName, ClaimValue>);

impl Claims {
    pub fn set(&mut self, name: &str, value: ClaimValue) {
        self.0.insert(name.to_owned(), value);
    }

    pub fn get(&self, name: &str) -> Option<&ClaimValue> {
        self.0.get(name)
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(ClaimValue::Bool(true)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &ClaimValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
