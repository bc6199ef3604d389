//! Selectors: one measured fact about a node or a process, as `type:value`.

use std::cmp::Ordering;
use std::fmt;

/// Why a text is not a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("a selector is written `type:value`, for example `unix:uid:1000`")]
    NoColon,
    #[error("a selector's type and value are both non-empty, and the type holds no colon")]
    Empty,
    #[error("a selector is at most 4096 bytes")]
    TooLong,
}

/// One selector, in one allocation. Ordered by type and then by value, so that a set of them has one canonical listing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector(Box<str>);

impl Selector {
    pub fn new(kind: &str, value: &str) -> Result<Self, SelectorError> {
        check(kind, value)?;
        Ok(Self([kind, ":", value].concat().into()))
    }

    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let (kind, value) = text.split_once(':').ok_or(SelectorError::NoColon)?;
        check(kind, value)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The attestor that measures this, for example `unix`.
    pub fn kind(&self) -> &str {
        self.parts().0
    }

    pub fn value(&self) -> &str {
        self.parts().1
    }

    /// What is measured, without the finding: `unix:sha256` for `unix:sha256:ab12…`.
    pub fn property(&self) -> &str {
        let (kind, value) = self.parts();
        let name = value.find(':').map_or(0, |end| end + 1);
        self.0.get(..kind.len() + name).unwrap_or(kind)
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
}

fn check(kind: &str, value: &str) -> Result<(), SelectorError> {
    if kind.is_empty() || value.is_empty() || kind.contains(':') {
        return Err(SelectorError::Empty);
    }
    if kind.len() + value.len() > 4095 { Err(SelectorError::TooLong) } else { Ok(()) }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_sort_by_type() {
        let parse = |text| Selector::parse(text).unwrap();
        assert_eq!(Selector::new("unix", "uid:7").unwrap(), parse("unix:uid:7"));
        assert_eq!((parse("unix:uid:7").kind(), parse("unix:uid:7").value()), ("unix", "uid:7"));
        for (text, property) in [("unix:uid:7", "unix:uid"), ("unix:uid:", "unix:uid"), ("mine:one", "mine")] {
            assert_eq!(parse(text).property(), property);
        }
        // As texts they would have the opposite order.
        assert!(parse("unix:a") < parse("unix-2:a") && parse("unix:a:b") < parse("unix:b"));
        for (text, error) in
            [("unix", SelectorError::NoColon), (":a", SelectorError::Empty), ("a:", SelectorError::Empty)]
        {
            assert_eq!(Selector::parse(text), Err(error));
        }
        assert_eq!(Selector::new("a:b", "c"), Err(SelectorError::Empty));
        assert_eq!(Selector::new("a", &"b".repeat(4095)), Err(SelectorError::TooLong));
    }
}
