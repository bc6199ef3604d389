//! A Rego engine: parser, checker, compiler and evaluator.
//!
//! The crate is pure: modules are texts, input and data are values, and the time is an argument.

mod api;
pub mod builtins;
pub mod check;
mod eval;
mod program;
pub mod syntax;
pub mod value;

pub use api::{Binding, CompileError, Compiler, Document, Policy, Query};
pub use eval::{Considered, Coverage, EvalCode, EvalError, Failure, Limits, Trace};
pub use program::{Place, ProgramError};
