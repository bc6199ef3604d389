//! The tree of rules by path.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::shared::{NodeId, RuleSetId};
use super::step::RuleSet;
use crate::syntax::ast::Source;
use crate::value::Value;

/// A node of the tree: a package, a part of one, or a document of rules.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) children: BTreeMap<Value, NodeId>,
    pub(crate) rules: Option<RuleSetId>,
    pub(crate) path: Vec<Value>,
}

impl Node {
    pub(super) fn copy(&self) -> Node {
        Node { children: self.children.clone(), rules: self.rules, path: self.path.clone() }
    }
}

/// Compiled modules.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) nodes: Vec<Node>,
    pub(crate) sets: Vec<RuleSet>,
    pub(crate) sources: Vec<Arc<Source>>,
}

/// The paths of all rules, collected before any rule is lowered.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) paths: Vec<Arc<[Value]>>,
    by_path: HashMap<Vec<Value>, RuleSetId>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { nodes: vec![Node::default()], paths: Vec::new(), by_path: HashMap::new() }
    }

    /// The node at a path, made where it is missing.
    pub(super) fn node(&mut self, path: &[Value]) -> NodeId {
        let mut at: NodeId = 0;
        for (depth, key) in path.iter().enumerate() {
            let child = self.nodes.get(at as usize).and_then(|node| node.children.get(key)).copied();
            at = child.unwrap_or_else(|| {
                let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
                let path = path.get(..=depth).unwrap_or_default().to_vec();
                self.nodes.push(Node { path, ..Node::default() });
                if let Some(node) = self.nodes.get_mut(at as usize) {
                    node.children.insert(key.clone(), id);
                }
                id
            });
        }
        at
    }

    /// The rule set at a path, made where it is missing.
    pub(super) fn set(&mut self, path: &[Value]) -> RuleSetId {
        if let Some(found) = self.by_path.get(path) {
            return *found;
        }
        let id = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        let at = self.node(path);
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.rules = Some(id);
        }
        self.by_path.insert(path.to_vec(), id);
        self.paths.push(path.into());
        id
    }

    /// The rule set of exactly this path.
    pub(super) fn find_set(&self, path: &[Value]) -> Option<RuleSetId> {
        self.by_path.get(path).copied()
    }

    pub(super) fn child(&self, node: NodeId, key: &Value) -> Option<NodeId> {
        self.nodes.get(node as usize)?.children.get(key).copied()
    }

    pub(super) fn rules(&self, node: NodeId) -> Option<RuleSetId> {
        self.nodes.get(node as usize)?.rules
    }
}

impl Program {
    /// The rule set at a path.
    pub(crate) fn find(&self, path: &[Value]) -> Option<RuleSetId> {
        let mut node = self.nodes.first()?;
        for key in path {
            node = self.nodes.get(*node.children.get(key)? as usize)?;
        }
        node.rules
    }
}
