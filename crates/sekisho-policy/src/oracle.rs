//! Builtins for a replay: where a value was hidden, a token stands in its place, and the questions of the policy about
//! it are answered from the record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sekisho_rego::builtins;
use sekisho_rego::value::Value;

use crate::question::Question;

/// What is known, or assumed, of one hidden value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub questions: BTreeMap<Question, bool>,
    /// A count that fits.
    pub count: i64,
    /// Whether the policy asks for it.
    pub counted: bool,
}

impl Answers {
    /// Whether the policy only compares the value with constants, which a token never equals.
    pub(crate) fn is_plain(&self) -> bool {
        self.questions.is_empty() && !self.counted
    }
}

/// Answers by token, and whether a question came that has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub tokens: Arc<BTreeMap<String, Answers>>,
    pub stuck: Arc<AtomicBool>,
}

type Ask = fn(String) -> Question;

/// Builtins that ask, which of their two arguments is asked about, and the question.
const ASKING: [(&str, usize, Ask); 4] = [
    ("contains", 0, Question::Contains),
    ("endswith", 0, Question::EndsWith),
    ("startswith", 0, Question::StartsWith),
    ("regex.match", 1, Question::Matches),
];

impl Oracle {
    /// The answers for the engine.
    pub(crate) fn answers_of_builtins(&self) -> builtins::Answers {
        let oracle = self.clone();
        let answer = move |name: &str, arguments: &[Value]| {
            oracle.answer(name, arguments).map(|answer| answer.unwrap_or_else(|| oracle.stuck()))
        };
        builtins::Answers(Arc::new(answer))
    }

    /// What a builtin comes to. The inner `None`: it asks what has no answer; the outer: it asks about nothing that is
    /// hidden.
    pub(crate) fn answer(&self, name: &str, arguments: &[Value]) -> Option<Option<Value>> {
        let asks = name == "count" || ASKING.iter().any(|(asking, ..)| *asking == name);
        let concerned = asks && arguments.iter().any(|argument| self.answers(argument).is_some());
        concerned.then(|| self.known(name, arguments))
    }

    fn known(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        if name == "count" {
            return arguments
                .first()
                .and_then(|counted| self.answers(counted))
                .map(|answers| Value::from(answers.count));
        }
        let (_, asked, question) = ASKING.iter().find(|(asking, ..)| *asking == name)?;
        let answers = self.answers(arguments.get(*asked)?)?;
        let with = arguments.get(1 - asked)?.as_str()?;
        answers.questions.get(&question(with.to_owned())).copied().map(Value::Bool)
    }

    fn answers(&self, value: &Value) -> Option<&Answers> {
        match value {
            Value::String(text) => self.tokens.get(text.as_ref()),
            _ => None,
        }
    }

    fn stuck(&self) -> Value {
        self.stuck.store(true, Ordering::Relaxed);
        Value::Bool(false)
    }
}
