//! The program: what modules become before they are evaluated.
//!
//! Variables are slots of a frame, bodies are steps in a safe order, and virtual documents are a tree of rules by path.
//! Which variables are bound at a step is known when the step is emitted, so no step asks for it at run time and
//! nothing is undone when a body backtracks: a slot is read only after the step that writes it.

mod core;
mod early;
mod emit;
mod emit_ref;
mod index;
mod lower;
mod lower_expr;
mod order;
mod registry;
mod rules;
mod shared;
mod step;
mod table;
mod template;
mod tree;
mod unify;
mod uses;

pub(crate) use registry::Registry;
pub(crate) use rules::{compile, compile_query};
pub(crate) use shared::{NodeId, RuleSetId};
pub use shared::{Place, ProgramError};
pub(crate) use step::{
    Base, Block, Branch, Callee, Collect, CollectKind, Compare, Every, Key, Mock, Operand, Pattern, Query, Rule,
    RuleKind, RuleSet, Slot, Step, StepKind, Target, WithMod,
};
pub(crate) use table::{Candidates, Column, Start};
pub(crate) use tree::{Node, Program};
