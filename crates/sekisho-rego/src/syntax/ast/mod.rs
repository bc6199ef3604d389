//! The syntax tree of a module.
//!
//! The tree keeps what the formatter needs (`:=` or `=`, `x.y` or `x["y"]`, parentheses, raw strings) and is otherwise
//! as simple as the language allows. Nothing is desugared: `x in xs` and `1 + 2` are nodes of their own. Every term
//! carries its height, so that no tree is higher than [`MAX_HEIGHT`] and recursion over a tree is bounded.

mod access;
mod exprs;
mod module;
mod node;

pub use exprs::{each_call, each_expr};
pub use module::{Annotation, Comment, Else, Head, HeadKind, Import, Module, Package, Rule, Scope, Target, Version};
pub use node::{
    Body, Expr, ExprKind, InfixOp, MAX_HEIGHT, Name, RefPart, Source, Span, TemplatePart, Term, TermKind, With,
};
