//! A Rego engine: parser, checker, compiler, evaluator, and OPA's builtins.
//!
//! The crate is pure: modules are texts, input and data are values, and the time is an argument. Nothing in it opens a
//! file or a socket, reads a clock or draws at random.
//!
//! ```
//! use sekisho_rego::value::Value;
//! use sekisho_rego::{Compiler, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Compiler::new()
//!     .module("authz.rego", "package authz\n\nallow if input.user in data.readers\n")?
//!     .compile()?;
//! let allow = policy.document(&["authz", "allow"]).ok_or("no such rule")?;
//! let data = Value::from_json(r#"{"readers": ["ada"]}"#)?;
//! let input = Value::from_json(r#"{"user": "ada"}"#)?;
//! assert_eq!(allow.eval(&data, Some(&input), 0, &Limits::default())?, Some(Value::Bool(true)));
//! # Ok(())
//! # }
//! ```
//!
//! A [`Compiler`] takes modules and makes a [`Policy`]. Of that come a [`Document`] (what a rule defines), a [`Query`]
//! (solutions with variables) and a [`Question`] (as a person asks, with the value of each expression). [`Limits`]
//! bound an evaluation. A [`Tracer`] hears what it does; [`tracers`] has an explanation, a profiler and coverage.

mod api;
mod ask;
pub mod builtins;
pub mod check;
pub mod decision;
mod eval;
pub mod partial;
mod program;
pub mod syntax;
pub mod tracers;
pub mod value;

pub use api::{Binding, CompileError, Compiler, Dependencies, Document, Policy, Query};
pub use ask::{Answer, Expression, Question};
pub use builtins::Context;
pub use eval::{Considered, Coverage, EvalCode, EvalError, Event, Failure, Limits, Node, Op, Trace, Tracer};
pub use program::{Place, ProgramError};
