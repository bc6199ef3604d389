//! The rules as a tree by the constant start of their paths.

use std::collections::BTreeMap;

use super::flat::{FlatRule, Item};

/// A node: the rules at a path and the nodes below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) children: BTreeMap<Key, usize>,
    /// Indexes of rules.
    pub(super) rules: Vec<usize>,
}

/// A constant as a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Other(String),
}

/// The nodes; the first one is `data`.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Key {
    /// The key of a constant; none for what has variables.
    pub(super) fn of(item: &Item) -> Option<Key> {
        Some(match item {
            Item::Null => Key::Null,
            Item::Bool(value) => Key::Bool(*value),
            Item::Number(text) => Key::Number(text.to_string()),
            Item::String(text) => Key::String(text.to_string()),
            Item::Array(_) | Item::Set(_) | Item::Object(_) if is_constant(item) => Key::Other(format!("{item:?}")),
            _ => return None,
        })
    }
}

/// Whether an item has neither variables nor references.
pub(super) fn is_constant(item: &Item) -> bool {
    match item {
        Item::Null | Item::Bool(_) | Item::Number(_) | Item::String(_) => true,
        Item::Array(items) | Item::Set(items) => items.iter().all(is_constant),
        Item::Object(pairs) => pairs.iter().all(|(key, value)| is_constant(key) && is_constant(value)),
        _ => false,
    }
}

impl Tree {
    pub(super) fn new(rules: &[FlatRule]) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for (index, rule) in rules.iter().enumerate() {
            let mut at = 0;
            for key in rule.ground_prefix().into_iter().filter_map(Key::of) {
                at = tree.child_or_new(at, key);
            }
            if let Some(node) = tree.nodes.get_mut(at) {
                node.rules.push(index);
            }
        }
        tree
    }

    fn child_or_new(&mut self, at: usize, key: Key) -> usize {
        if let Some(child) = self.child(at, &key) {
            return child;
        }
        let new = self.nodes.len();
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(at) {
            node.children.insert(key, new);
        }
        new
    }

    pub(super) fn child(&self, at: usize, key: &Key) -> Option<usize> {
        self.nodes.get(at).and_then(|node| node.children.get(key)).copied()
    }

    pub(super) fn node(&self, at: usize) -> Option<&Node> {
        self.nodes.get(at)
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The rules below a node, its own left out.
    pub(super) fn below(&self, at: usize) -> Vec<usize> {
        let mut rules = Vec::new();
        let mut left: Vec<usize> = self.nodes.get(at).into_iter().flat_map(|n| n.children.values().copied()).collect();
        while let Some(node) = left.pop().and_then(|at| self.nodes.get(at)) {
            rules.extend(&node.rules);
            left.extend(node.children.values());
        }
        rules.sort_unstable();
        rules
    }
}
