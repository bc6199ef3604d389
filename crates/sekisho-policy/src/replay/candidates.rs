//! The possible values of a hidden value, as far as a policy distinguishes them.

use std::collections::{BTreeMap, BTreeSet};

use crate::mask::{MAX_KEPT, is_sensitive, recorded_query};
use crate::oracle::Answers;
use crate::question::{Place, Question};
use crate::reads::{Position, Reads};
use crate::record::Recorded;

/// Most questions without an answer for which both answers are tried.
const MAX_OPEN: usize = 5;

/// One way to fill in a hidden value.
#[derive(Debug, Clone)]
pub(super) enum Candidate {
    Value(Place, String),
    /// It equals no constant; other questions have these answers.
    Token(Place, Answers),
}

/// A hidden value, and what a policy asks about it.
#[derive(Debug)]
pub(super) struct Hidden<'a> {
    place: Place,
    shape: Shape<'a>,
    known: BTreeMap<Question, bool>,
    asked: Vec<(&'a Question, &'a Position)>,
}

/// What the record shows of it.
#[derive(Debug)]
enum Shape<'a> {
    Masked,
    /// It begins so and goes on.
    Cut(&'a str),
    /// A query with these parameters.
    Query(&'a str),
}

impl<'a> Hidden<'a> {
    pub(super) fn new(place: Place, recorded: &'a Recorded, known: BTreeMap<Question, bool>, reads: &'a Reads) -> Self {
        let value = place.value(&recorded.request).unwrap_or_default();
        let cut = value.char_indices().nth(MAX_KEPT).and_then(|(end, _)| value.get(..end));
        let shape = match (&place, cut) {
            (Place::Query, _) if recorded.has_query => Shape::Query(value),
            (Place::Query, _) => Shape::Masked,
            (Place::Header(name), Some(kept)) if !is_sensitive(name) => Shape::Cut(kept),
            _ => Shape::Masked,
        };
        let asked = reads.questions(&place).collect();
        Self { place, shape, known, asked }
    }

    pub(super) const fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether the record's answers say all of it.
    pub(super) fn is_known(&self) -> bool {
        self.known.iter().any(|(question, yes)| *yes && matches!(question, Question::Equal(_)))
    }

    /// The first question that the record does not answer: its place and rule.
    pub(super) fn open(&self) -> Option<(String, String)> {
        let open = self.asked.iter().find(|(question, _)| self.answer(question).is_none());
        open.map(|(_, at)| self.shown_at(at))
    }

    /// The first question.
    pub(super) fn first(&self) -> Option<(String, String)> {
        self.asked.first().map(|(_, at)| self.shown_at(at))
    }

    fn shown_at(&self, at: &Position) -> (String, String) {
        (self.place.name(), format!("{}:{}", at.file, at.line))
    }

    /// All candidates; nothing if there are too many to try.
    pub(super) fn candidates(&self, most: usize) -> Vec<Candidate> {
        let texts = self.known.keys().chain(self.asked.iter().map(|(question, _)| *question));
        let texts: BTreeSet<&String> = texts
            .filter_map(|question| match question {
                Question::Equal(text) => Some(text),
                _ => None,
            })
            .collect();
        let may_be = |text: &&String| self.answer(&Question::Equal((*text).clone())) != Some(false);
        let values = texts.into_iter().filter(may_be).map(|text| Candidate::Value(self.place.clone(), text.clone()));
        let mut out: Vec<Candidate> = values.collect();
        if self.is_known() {
            return out;
        }
        let (mut answers, mut open) = (BTreeMap::new(), vec![]);
        for (question, _) in &self.asked {
            match (question, self.answer(question)) {
                (Question::Equal(_) | Question::AtLeast(_), _) => {}
                (_, Some(answer)) => drop(answers.insert((*question).clone(), answer)),
                (_, None) => open.push((*question).clone()),
            }
        }
        let counts = self.counts();
        if open.len() > MAX_OPEN || out.len() + (counts.len() << open.len()) > most {
            return vec![];
        }
        for bits in 0..1usize << open.len() {
            let mut answers = answers.clone();
            answers.extend(open.iter().enumerate().map(|(at, question)| (question.clone(), bits >> at & 1 == 1)));
            let token = |count| {
                Candidate::Token(
                    self.place.clone(),
                    Answers { questions: answers.clone(), count, counted: self.is_counted() },
                )
            };
            out.extend(counts.iter().copied().map(token));
        }
        out
    }

    fn is_counted(&self) -> bool {
        self.asked.iter().any(|(question, _)| matches!(question, Question::AtLeast(_)))
    }

    /// One count for each outcome of the comparisons.
    fn counts(&self) -> Vec<i64> {
        if !self.is_counted() {
            return vec![0];
        }
        let questions = self.known.keys().chain(self.asked.iter().map(|(question, _)| *question));
        let bounds = questions.filter_map(|question| match question {
            Question::AtLeast(count) => Some(*count),
            _ => None,
        });
        let least = self.least();
        let bounds: BTreeSet<i64> = bounds.filter(|count| *count > least).chain([least]).collect();
        let fits = |count: &i64| {
            self.known.iter().all(|(question, yes)| match question {
                Question::AtLeast(bound) => (count >= bound) == *yes,
                _ => true,
            })
        };
        bounds.into_iter().filter(fits).collect()
    }

    /// It cannot be shorter.
    fn least(&self) -> i64 {
        match self.shape {
            Shape::Masked => 0,
            Shape::Cut(kept) => i64::try_from(kept.chars().count() + 1).unwrap_or(i64::MAX),
            Shape::Query(_) => 1,
        }
    }

    /// What is certain: by the record's answers, or by what it shows.
    fn answer(&self, question: &Question) -> Option<bool> {
        if let Some(answer) = self.known.get(question) {
            return Some(*answer);
        }
        match question {
            Question::Equal(text) => self.excludes(text).then_some(false),
            Question::AtLeast(_) => {
                let counts = self.known_counts(question);
                counts.first().copied().filter(|first| counts.iter().all(|count| count == first))
            }
            Question::Contains(part) if part.is_empty() || self.shown().contains(part.as_str()) => Some(true),
            Question::EndsWith(end) if end.is_empty() => Some(true),
            Question::StartsWith(start) if self.shown().starts_with(start.as_str()) => Some(true),
            Question::StartsWith(start) if !start.starts_with(self.shown()) => Some(false),
            _ => self.follows(question),
        }
    }

    /// The answers to a comparison of the count that fit.
    fn known_counts(&self, question: &Question) -> Vec<bool> {
        let Question::AtLeast(bound) = question else { return vec![] };
        self.counts().into_iter().map(|count| count >= *bound).collect()
    }

    /// What follows from the answer to another question.
    fn follows(&self, question: &Question) -> Option<bool> {
        self.known.iter().find_map(|(other, yes)| match (question, other) {
            (Question::StartsWith(start), Question::StartsWith(known)) => {
                prefixes(start, known, *yes, |a, b| a.starts_with(b))
            }
            (Question::EndsWith(end), Question::EndsWith(known)) => prefixes(end, known, *yes, |a, b| a.ends_with(b)),
            (
                Question::Contains(part),
                Question::StartsWith(known) | Question::EndsWith(known) | Question::Contains(known),
            ) if *yes && known.contains(part.as_str()) => Some(true),
            _ => None,
        })
    }

    /// How it begins, as far as the record shows that.
    const fn shown(&self) -> &'a str {
        match self.shape {
            Shape::Cut(kept) => kept,
            Shape::Masked | Shape::Query(_) => "",
        }
    }

    /// Whether it cannot have been `text`.
    fn excludes(&self, text: &str) -> bool {
        let shape = match self.shape {
            Shape::Masked => true,
            Shape::Cut(kept) => text.len() > kept.len() && text.starts_with(kept),
            Shape::Query(masked) => recorded_query(text) == masked,
        };
        !shape || self.known.iter().any(|(question, yes)| question.of(text) != *yes)
    }
}

/// Whether a text begins with (or ends in) `asked`, if it is known whether it does with `known`.
fn prefixes(asked: &str, known: &str, yes: bool, begins: fn(&str, &str) -> bool) -> Option<bool> {
    match yes {
        true if begins(known, asked) => Some(true),
        true if !begins(asked, known) => Some(false),
        false if begins(asked, known) => Some(false),
        _ => None,
    }
}
