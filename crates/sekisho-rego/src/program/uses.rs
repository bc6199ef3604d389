//! The documents that a query depends on, found in its steps and in those of all rules that it uses.

use std::collections::BTreeSet;

use super::shared::{NodeId, RuleSetId};
use super::step::{Base, Block, Callee, Key, Mock, Operand, Query, StepKind};
use super::tree::Program;
use crate::value::Value;

/// Paths of documents.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Below the input, without `input`.
    pub(crate) input: BTreeSet<Vec<Value>>,
    /// Below data, not defined by rules, without `data`.
    pub(crate) data: BTreeSet<Vec<Value>>,
    /// Defined by rules, without `data`.
    pub(crate) rules: BTreeSet<Vec<Value>>,
}

struct Search<'p> {
    program: &'p Program,
    uses: Uses,
    seen: BTreeSet<RuleSetId>,
    waiting: Vec<RuleSetId>,
}

impl Program {
    /// The documents that a query depends on; a path ends where it goes on by a key that is not constant. Of a document
    /// and its parts only the document is named.
    pub(crate) fn uses(&self, query: &Query) -> Uses {
        let mut search = Search { program: self, uses: Uses::default(), seen: BTreeSet::new(), waiting: Vec::new() };
        search.block(&query.block);
        while let Some(id) = search.waiting.pop() {
            search.rules(id);
        }
        let Uses { input, data, rules } = search.uses;
        Uses { input: outermost(input), data: outermost(data), rules }
    }
}

/// Those that are not part of another one.
fn outermost(paths: BTreeSet<Vec<Value>>) -> BTreeSet<Vec<Value>> {
    let mut out: BTreeSet<Vec<Value>> = BTreeSet::new();
    for path in paths {
        // A path comes after all that it is part of.
        if !(0..path.len()).any(|end| path.get(..end).is_some_and(|start| out.contains(start))) {
            out.insert(path);
        }
    }
    out
}

/// The keys up to the first that is not constant.
fn constant(keys: &[Operand]) -> Vec<Value> {
    let constant = |key: &Operand| match key {
        Operand::Const(value) => Some(value.clone()),
        _ => None,
    };
    keys.iter().map_while(constant).collect()
}

impl<'p> Search<'p> {
    fn rule_set(&mut self, id: RuleSetId) {
        if self.seen.insert(id) {
            self.waiting.push(id);
        }
    }

    fn rules(&mut self, id: RuleSetId) {
        let Some(set) = self.program.sets.get(id as usize) else { return };
        self.uses.rules.insert(set.path.to_vec());
        for rule in set.rules.iter().chain(&set.default) {
            rule.branches.iter().for_each(|branch| self.block(&branch.block));
        }
    }

    /// All rules at a node and below it.
    fn node(&mut self, id: NodeId) {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            let Some(node) = self.program.nodes.get(id as usize) else { continue };
            node.rules.into_iter().for_each(|set| self.rule_set(set));
            waiting.extend(node.children.values());
        }
    }

    fn block(&mut self, block: &'p Block) {
        for step in &block.steps {
            self.step(&step.kind);
        }
    }

    fn step(&mut self, kind: &'p StepKind) {
        match kind {
            StepKind::Get { base: Base::Input, keys, .. } => {
                self.uses.input.insert(constant(keys));
            }
            StepKind::Get { base: Base::Data, keys, .. } => {
                self.uses.data.insert(constant(keys));
            }
            StepKind::Rule { set, .. } => self.rule_set(*set),
            StepKind::Extent { node, .. } => self.node(*node),
            StepKind::Tree { node, path, .. } => self.tree(*node, path),
            StepKind::Call { callee: Callee::Function(set), .. } => self.rule_set(*set),
            StepKind::Not { block } => self.block(block),
            StepKind::And { left, right } | StepKind::Or { left, right } => {
                self.block(left);
                self.block(right);
            }
            StepKind::Every(every) => self.block(&every.block),
            StepKind::Collect(collect) => self.block(&collect.block),
            StepKind::With { mods, block, .. } => {
                for modifier in mods {
                    if let Mock::Callee(Callee::Function(set)) = &modifier.value {
                        self.rule_set(*set);
                    }
                }
                self.block(block);
            }
            _ => {}
        }
    }

    /// A reference by keys that are not constant: any rule below may be meant, and any base document.
    fn tree(&mut self, id: NodeId, path: &[Key]) {
        let mut at = id;
        for key in path {
            let Key::Bound(Operand::Const(key)) = key else { break };
            let child = self.program.nodes.get(at as usize).and_then(|node| node.children.get(key));
            match child {
                Some(child) => at = *child,
                None => break,
            }
        }
        self.node(at);
        if let Some(node) = self.program.nodes.get(at as usize) {
            self.uses.data.insert(node.path.clone());
        }
    }
}
