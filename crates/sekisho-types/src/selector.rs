//! Selectors: one measured fact about a node or a process, as `type:value`.

use std::fmt;

/// Why a text is no selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("a selector is written `type:value`, for example `unix:uid:1000`")]
    NoColon,
    #[error("a selector's type and value are both non-empty, and the type holds no colon")]
    Empty,
    #[error("a selector is at most 4096 bytes")]
    TooLong,
}

/// One selector. Ordered, so that a set of them has one canonical listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    kind: String,
    value: String,
}

impl Selector {
    pub fn new(kind: &str, value: &str) -> Result<Self, SelectorError> {
        if kind.is_empty() || value.is_empty() || kind.contains(':') {
            return Err(SelectorError::Empty);
        }
        if kind.len() + value.len() > 4095 {
            return Err(SelectorError::TooLong);
        }
        Ok(Self { kind: kind.to_owned(), value: value.to_owned() })
    }

    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let (kind, value) = text.split_once(':').ok_or(SelectorError::NoColon)?;
        Self::new(kind, value)
    }

    /// The attestor that measures this, for example `unix`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is measured, without the finding: `unix:sha256` for `unix:sha256:ab12…`.
    pub fn property(&self) -> String {
        match self.value.split_once(':') {
            Some((name, _)) => format!("{}:{name}", self.kind),
            None => self.kind.clone(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}
