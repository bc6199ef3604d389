//! What is asked of a partial evaluation.

use super::unknown::Unknown;
use crate::eval::Limits;
use crate::value::Value;

/// What is unknown, and how a residual is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The parts of input and data that are unknown.
    pub unknowns: Vec<Unknown>,
    /// Documents of these paths of data, without `data`, are not put in place of what reads them.
    pub not_inlined: Vec<Vec<Value>>,
    /// No document that reads an unknown is put in place of what reads it.
    pub shallow: bool,
    /// The time in nanoseconds since 1970; unknown where absent.
    pub now: Option<i64>,
    /// The bounds of the evaluation; `strict` and `exhaustive` are those of the evaluations of the residual.
    pub limits: Limits,
    /// The most bodies of one document or query.
    pub most_bodies: usize,
    /// The most terms of the residual.
    pub largest: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            unknowns: vec![Unknown::input()],
            not_inlined: Vec::new(),
            shallow: false,
            now: None,
            limits: Limits::default(),
            most_bodies: 100_000,
            largest: 5_000_000,
        }
    }
}
