//! What the check of types has found so far.

use std::collections::BTreeMap;

use super::super::flat::{FlatRule, VarId, Variables, Vars};
use super::super::functions::Functions;
use super::super::tree::Tree;
use super::annotated::Annotated;
use super::schemas::Schemas;
use crate::builtins::Type;
use crate::syntax::ast::{Annotation, Module, Source};
use crate::syntax::error::Error;

/// The rules and what is found of them.
pub(super) struct Rules<'a> {
    pub(super) modules: &'a [Module],
    pub(super) rules: &'a [FlatRule],
    pub(super) tree: &'a Tree,
    pub(super) functions: &'a Functions<'a>,
    pub(super) variables: &'a Variables,
    pub(super) schemas: &'a Schemas,
    /// The annotations with schemas.
    pub(super) noted: Vec<(&'a Module, &'a Annotation)>,
    pub(super) nodes: Vec<State>,
    pub(super) followed: usize,
    /// Collections within collections, through the rules that are followed.
    pub(super) nested: usize,
    pub(super) errors: Vec<Error>,
}

/// What is found of the rules at a node.
#[derive(Clone)]
pub(super) enum State {
    Unknown,
    Running,
    Known(Found),
}

#[derive(Clone)]
pub(super) struct Found {
    pub(super) parameters: Vec<Type>,
    pub(super) value: Type,
}

/// Checks the bodies of one rule.
pub(super) struct Checker<'a, 'r> {
    pub(super) rules: &'r mut Rules<'a>,
    pub(super) source: &'a Source,
    pub(super) env: BTreeMap<VarId, Type>,
    /// The variables in the order they got a type.
    pub(super) journal: Vec<VarId>,
    /// The variables of parameters.
    pub(super) given: Vars,
    /// Whether documents may be replaced where the current step stands.
    pub(super) relaxed: bool,
    /// The types of the input and of data.
    pub(super) annotated: Annotated,
    pub(super) errors: Vec<Error>,
}
