//! Patterns that are compiled when a policy is loaded.

use regex::Regex;

use crate::builtins::{glob_pattern, regex_pattern};

/// A compiled pattern of `regex.match` or `glob.match`.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// What each text that matches begins with.
    prefix: Box<str>,
}

impl Pattern {
    /// A pattern of `regex.match`; none where the function refuses it, or its meaning depends on the text.
    #[must_use]
    pub fn regex(pattern: &str) -> Option<Pattern> {
        Some(Pattern { regex: regex_pattern(pattern)?, prefix: "".into() })
    }

    /// A pattern of `glob.match`; none where the function refuses it.
    #[must_use]
    pub fn glob(pattern: &str, delimiters: &[char]) -> Option<Pattern> {
        let literal = pattern.find(['*', '?', '[', '{', '\\', '}', ',']).and_then(|end| pattern.get(..end));
        Some(Pattern { regex: glob_pattern(pattern, delimiters)?, prefix: literal.unwrap_or(pattern).into() })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}
