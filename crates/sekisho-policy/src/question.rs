//! The questions of a policy about a text that a record may hide.

use aws_lc_rs::digest;
use sekisho_rego::builtins::lookup;
use sekisho_rego::value::Value;
use sekisho_types::UnixTime;

use crate::context;
use crate::input::RequestInput;

/// A place of the input whose value a record may hide.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Header(String),
    Query,
}

/// A question about a text, with a constant of the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    /// Its `count` is this or more.
    AtLeast(i64),
    Contains(String),
    EndsWith(String),
    Equal(String),
    Matches(String),
    StartsWith(String),
}

impl Place {
    pub(crate) fn value<'a>(&self, request: &'a RequestInput) -> Option<&'a str> {
        match self {
            Self::Header(name) => request.headers.get(name).map(String::as_str),
            Self::Query => Some(&request.query),
        }
    }

    pub(crate) fn replace(&self, request: &mut RequestInput, value: &str) {
        match self {
            Self::Header(name) => {
                request.headers.insert(name.clone(), value.to_owned());
            }
            Self::Query => value.clone_into(&mut request.query),
        }
    }

    /// Its name in a record.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Header(name) => format!("headers.{name}"),
            Self::Query => "query".to_owned(),
        }
    }
}

impl Question {
    /// The answer that the engine would give. A pattern that is not one is not a question.
    pub(crate) fn of(&self, value: &str) -> bool {
        match self {
            Self::AtLeast(count) => i64::try_from(value.chars().count()).unwrap_or(i64::MAX) >= *count,
            Self::Contains(part) => value.contains(part.as_str()),
            Self::EndsWith(end) => value.ends_with(end.as_str()),
            Self::Equal(whole) => value == whole,
            Self::Matches(pattern) => matches(pattern, value) == Some(true),
            Self::StartsWith(start) => value.starts_with(start.as_str()),
        }
    }

    pub(crate) fn encode(&self, context: &mut digest::Context) {
        let (kind, text) = match self {
            Self::AtLeast(count) => (0, count.to_string()),
            Self::Contains(text) => (1, text.clone()),
            Self::EndsWith(text) => (2, text.clone()),
            Self::Equal(text) => (3, text.clone()),
            Self::Matches(text) => (4, text.clone()),
            Self::StartsWith(text) => (5, text.clone()),
        };
        put(context, &[kind]);
        put(context, text.as_bytes());
    }
}

pub(crate) fn put(context: &mut digest::Context, part: &[u8]) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part);
}

/// By the engine's own builtin; `None` for a pattern that it does not take.
pub(crate) fn matches(pattern: &str, value: &str) -> Option<bool> {
    let mut context = context::take(UnixTime::default());
    let answer = lookup("regex.match")?.call(&mut context, &[Value::from(pattern), Value::from(value)]);
    context::keep(&mut context);
    answer.ok().flatten().and_then(|answer| answer.as_bool())
}
