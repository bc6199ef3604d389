//! Builtins for a replay: where a value was hidden, a token stands in its place, and the questions of the policy about
//! it are answered from the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regorus::coverage::{File, Report};
use regorus::{Engine, Value};

use crate::builtins::native;
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

/// Lines that the engine evaluated, by file.
#[derive(Debug, Default)]
pub(crate) struct Evaluated {
    /// `None` where nothing is known.
    untouched: Option<BTreeMap<String, BTreeSet<u32>>>,
}

impl Evaluated {
    pub(crate) fn of(engine: &Engine) -> Self {
        let report = engine.get_coverage_report().ok();
        let untouched = |report: Report| {
            let mut files = BTreeMap::<String, BTreeSet<u32>>::new();
            for File { path, covered, not_covered, .. } in report.files {
                let lines = not_covered.difference(&covered).copied().collect();
                // Of two files with one name nothing is known.
                files.entry(path).and_modify(BTreeSet::clear).or_insert(lines);
            }
            files
        };
        Self { untouched: report.map(untouched) }
    }

    /// Whether any of these lines may have been evaluated.
    pub(crate) fn any(&self, file: &str, lines: &BTreeSet<u32>) -> bool {
        let untouched = self.untouched.as_ref().and_then(|files| files.get(file));
        lines.is_empty() || untouched.is_none_or(|untouched| !lines.is_subset(untouched))
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
    /// Gives a copy of the engine the builtins that ask it.
    pub(crate) fn install(&self, engine: &mut Engine) -> Result<(), String> {
        for (name, arity) in ASKING.map(|(name, ..)| (name, 2)).into_iter().chain([("count", 1)]) {
            let (oracle, mut engines) = (self.clone(), native(name, arity));
            let builtin = move |arguments: Vec<Value>| match oracle.answer(name, &arguments) {
                Some(answer) => Ok(answer.unwrap_or_else(|| oracle.stuck())),
                None => engines(arguments),
            };
            engine.add_extension(name.to_owned(), arity, Box::new(builtin)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What a builtin comes to. The inner `None`: it asks what has no answer; the outer: it asks about nothing that is
    /// hidden.
    pub(crate) fn answer(&self, name: &str, arguments: &[Value]) -> Option<Option<Value>> {
        let concerned = arguments.iter().any(|argument| self.answers(argument).is_some());
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
        let with = arguments.get(1 - asked)?.as_string().ok()?;
        answers.questions.get(&question(with.to_string())).copied().map(Value::from)
    }

    fn answers(&self, value: &Value) -> Option<&Answers> {
        match value {
            Value::String(text) => self.tokens.get(text.as_ref()),
            _ => None,
        }
    }

    fn stuck(&self) -> Value {
        self.stuck.store(true, Ordering::Relaxed);
        Value::from(false)
    }
}
