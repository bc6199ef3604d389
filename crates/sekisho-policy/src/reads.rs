//! The reads of a policy set at places whose values a record may hide, found when the set is loaded. A value that is
//! not read makes no replay uncertain. If a value is read only by questions with a constant, a record keeps the
//! answers.

pub(crate) mod find;

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use sekisho_rego::syntax::ast::Span;

use crate::input::RequestInput;
use crate::question::{Place, Question, put};

/// Most answers that a record keeps of one value.
const MAX_ANSWERS: usize = 1024;

/// The place in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub file: String,
    pub line: u32,
}

/// A read of the whole value, not only of the answer to a question.
#[derive(Debug)]
pub(crate) struct UnboundedRead {
    pub of: Extent,
    pub at: Position,
    /// Where the engine evaluates it, if it does: the number of the module and the place in it.
    pub module: usize,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    Everything,
    /// Headers whose names are known only when the policy runs.
    Headers,
    One(Place),
}

/// The reads of a policy set.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    questions: BTreeMap<Place, BTreeMap<Question, Position>>,
    free: Vec<UnboundedRead>,
    /// Names the questions and their order.
    digest: String,
}

impl Reads {
    fn new(questions: BTreeMap<Place, BTreeMap<Question, Position>>, free: Vec<UnboundedRead>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for (place, asked) in &questions {
            put(&mut context, place.name().as_bytes());
            context.update(&(asked.len() as u64).to_be_bytes());
            asked.keys().for_each(|question| question.encode(&mut context));
        }
        let digest = hex::encode(context.finish().as_ref().get(..8).unwrap_or_default());
        Self { questions, free, digest }
    }

    /// The questions that the set asks of `place`, in the order of their answers.
    pub(crate) fn questions(&self, place: &Place) -> impl Iterator<Item = (&Question, &Position)> {
        self.questions.get(place).into_iter().flatten()
    }

    /// The reads of `place` that no answers replace.
    pub(crate) fn free<'a>(&'a self, place: &Place) -> Vec<&'a UnboundedRead> {
        let concerned = |read: &&UnboundedRead| match &read.of {
            Extent::Everything => true,
            Extent::Headers => matches!(place, Place::Header(_)),
            Extent::One(one) => one == place,
        };
        self.free.iter().filter(concerned).collect()
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// The answers for the hidden values of `request`: for each place one character a question, `1` for yes. They
    /// reveal what the policy found out, and nothing without its text.
    pub(crate) fn answers(
        &self,
        request: &RequestInput,
        hides: impl Fn(&Place, &str) -> bool,
    ) -> BTreeMap<String, String> {
        let asked = self.questions.iter().filter(|(_, questions)| questions.len() <= MAX_ANSWERS);
        let hidden = asked.filter_map(|(place, questions)| {
            let value = place.value(request).filter(|value| hides(place, value))?;
            let answer = |question: &Question| if question.of(value) { '1' } else { '0' };
            Some((place.name(), questions.keys().map(answer).collect()))
        });
        hidden.collect()
    }

    /// The same, read again. Answers in another number than questions are none.
    pub(crate) fn known(&self, place: &Place, answers: &str) -> BTreeMap<Question, bool> {
        let questions = self.questions.get(place).filter(|questions| questions.len() == answers.len());
        let known = questions.into_iter().flat_map(|questions| questions.keys().cloned().zip(answers.bytes()));
        known.map(|(question, answer)| (question, answer == b'1')).collect()
    }
}

#[cfg(test)]
mod tests;
