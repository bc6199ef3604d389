//! Rules that depend on themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::conflicts::path_text;
use super::constants::Constants;
use super::flat::{FlatKind, FlatRule, Item, VarId, Variables};
use super::tree::{Key, Tree, is_constant};
use super::vars::{self, Skip};
use super::visit::{self, Document};
use crate::syntax::ast::Module;
use crate::syntax::error::{Code, Error};

/// The greatest number of recursive rules that are reported.
const MOST_ERRORS: usize = 50;

/// Which rules depend on which. A node of the graph is a rule, or a whole part of the tree.
struct Graph<'a> {
    rules: &'a [FlatRule],
    tree: &'a Tree,
    /// The rules' nodes come first, then those of the tree.
    edges: Vec<Vec<usize>>,
    /// The edges that hold only if a variable has a certain value.
    dynamic: BTreeSet<(usize, usize)>,
}

/// A reference to follow.
struct Selection<'a> {
    /// The path to follow through the tree.
    path: &'a [Item],
    /// Which of its elements are variables that something else binds.
    bound: &'a [bool],
}

/// Where the edges of a rule go, and whether always.
type Found = Vec<(usize, bool)>;

pub(super) fn check(
    modules: &[Module],
    rules: &[FlatRule],
    tree: &Tree,
    vars: &Variables,
    longest: Option<usize>,
    errors: &mut Vec<Error>,
) {
    let edges = vec![Vec::new(); rules.len() + tree.len()];
    let mut graph = Graph { rules, tree, edges, dynamic: BTreeSet::new() };
    graph.tree_edges();
    for index in 0..rules.len() {
        graph.rule_edges(index);
    }
    let component = graph.components();
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for number in &component {
        *sizes.entry(*number).or_default() += 1;
    }
    let before = errors.len();
    for (index, rule) in rules.iter().enumerate() {
        if errors.len() - before >= MOST_ERRORS {
            break;
        }
        let alone = component.get(index).and_then(|number| sizes.get(number)).is_none_or(|size| *size < 2);
        let itself = graph.edges.get(index).is_some_and(|edges| edges.contains(&index));
        if alone && !itself {
            continue;
        }
        let (path, verb) = match graph.cycle(index, false) {
            Some(path) => (path, "is"),
            None => match graph.cycle(index, true) {
                Some(path) => (path, "may be"),
                None => continue,
            },
        };
        let names: Vec<String> =
            path.iter().filter_map(|at| rules.get(*at)).map(|rule| path_text(&rule.path, vars)).collect();
        let name = path_text(&rule.path, vars);
        let message = format!("rule {name} {verb} recursive: {}", names.join(" -> "));
        if let Some(module) = modules.get(rule.module) {
            let error = Error::new(Code::Recursion, &module.source, rule.span, message);
            errors.push(error.hint("a rule cannot use its own value; `walk` and `graph.reachable` go through trees"));
        }
    }
    if let Some(longest) = longest.filter(|_| errors.len() == before)
        && let Some(rule) = graph.end_of_chain(longest).and_then(|index| rules.get(index))
        && let Some(module) = modules.get(rule.module)
    {
        let name = path_text(&rule.path, vars);
        let message = format!("rule {name} stands behind more than {longest} rules that use each other");
        let error = Error::new(Code::Compile, &module.source, rule.span, message);
        errors.push(error.hint("take some of them together"));
    }
}

impl Graph<'_> {
    fn subtree(&self, at: usize) -> usize {
        self.rules.len() + at
    }

    /// A part of the tree depends on its rules and the parts below it.
    fn tree_edges(&mut self) {
        for at in 0..self.tree.len() {
            let Some(node) = self.tree.node(at) else { continue };
            let mut edges = node.rules.clone();
            edges.extend(node.children.values().map(|at| self.subtree(*at)));
            if let Some(slot) = self.edges.get_mut(self.rules.len() + at) {
                *slot = edges;
            }
        }
    }

    fn rule_edges(&mut self, index: usize) {
        let Some(rule) = self.rules.get(index) else { return };
        let mut uses: BTreeMap<VarId, usize> = BTreeMap::new();
        let mut count = |id| *uses.entry(id).or_default() += 1;
        vars::in_body(&rule.body, Skip::default(), &mut count);
        let items: Vec<&Item> = match &rule.kind {
            FlatKind::Value(item) | FlatKind::Set(item) => vec![item],
            FlatKind::Function { parameters, value } => parameters.iter().chain([value]).collect(),
        };
        items.iter().copied().chain(&rule.path).for_each(|item| vars::in_item(item, Skip::default(), &mut count));
        let mut found = Found::new();
        let mut constants = Constants::default();
        for step in &rule.body {
            visit::documents(std::slice::from_ref(step), &mut |document| {
                self.document(document, &constants, &uses, &mut found);
            });
            constants.learn(step);
        }
        for item in items {
            visit::item_documents(item, &mut |document| self.document(document, &constants, &uses, &mut found));
        }
        let always: BTreeSet<usize> = found.iter().filter(|(_, always)| *always).map(|(to, _)| *to).collect();
        let targets: BTreeSet<usize> = found.into_iter().map(|(to, _)| to).collect();
        self.dynamic.extend(targets.difference(&always).map(|to| (index, *to)));
        if let Some(slot) = self.edges.get_mut(index) {
            *slot = targets.into_iter().collect();
        }
    }

    fn document(
        &self,
        document: Document<'_>,
        constants: &Constants,
        uses: &BTreeMap<VarId, usize>,
        found: &mut Found,
    ) {
        let names: Vec<Item>;
        let written = match document {
            Document::Path(path) => path,
            Document::Function(path) => {
                names = path.iter().map(|name| Item::String(name.clone())).collect();
                &names
            }
        };
        let paths = constants.expand(written);
        let selected = match paths.as_slice() {
            [only] => only,
            _ => written,
        };
        let bound: Vec<bool> = selected
            .iter()
            .map(|item| match item {
                Item::Var(id) => uses.get(id).is_some_and(|count| *count > 1),
                item => !is_constant(item),
            })
            .collect();
        for path in &paths {
            self.select(0, &Selection { path, bound: &bound }, 0, found);
        }
    }

    /// The rules that a reference may select below the node `at`.
    fn select(&self, at: usize, selection: &Selection<'_>, depth: usize, found: &mut Found) {
        let Some(item) = selection.path.get(depth) else {
            found.push((self.subtree(at), !selection.bound.contains(&true)));
            return;
        };
        let Some(node) = self.tree.node(at) else { return };
        match Key::of(item) {
            Some(key) => {
                if let Some(child) = self.tree.child(at, &key) {
                    self.select_in(child, selection, depth + 1, found);
                }
            }
            None => {
                for child in node.children.values() {
                    self.select_in(*child, selection, depth + 1, found);
                }
            }
        }
    }

    fn select_in(&self, at: usize, selection: &Selection<'_>, depth: usize, found: &mut Found) {
        let Some(node) = self.tree.node(at) else { return };
        for index in &node.rules {
            let Some(rule) = self.rules.get(*index) else { continue };
            if may_intersect(&rule.path, selection.path, depth) {
                let constant = rule.path.iter().map(is_constant);
                let always = !constant.zip(selection.bound).any(|(constant, bound)| constant && *bound);
                found.push((*index, always));
            }
        }
        self.select(at, selection, depth, found);
    }

    /// The number of the strongly connected component of each node.
    fn components(&self) -> Vec<usize> {
        let count = self.edges.len();
        let mut search = Search {
            edges: &self.edges,
            order: vec![usize::MAX; count],
            low: vec![usize::MAX; count],
            component: vec![usize::MAX; count],
            stack: Vec::new(),
            next: 0,
        };
        for node in 0..count {
            search.visit(node);
        }
        search.component
    }

    /// A rule behind which more than `longest` rules use each other, where none is recursive.
    fn end_of_chain(&self, longest: usize) -> Option<usize> {
        let mut lengths = vec![None; self.edges.len()];
        for start in 0..self.rules.len() {
            let mut waiting = vec![(start, false)];
            while let Some((node, entered)) = waiting.pop() {
                if lengths.get(node).copied().flatten().is_some() {
                    continue;
                }
                let next = self.edges.get(node).map(Vec::as_slice).unwrap_or_default();
                if !entered {
                    waiting.push((node, true));
                    waiting.extend(next.iter().map(|next| (*next, false)));
                    continue;
                }
                let behind = next.iter().filter_map(|next| lengths.get(*next).copied().flatten()).max();
                let length = behind.unwrap_or(0_usize) + usize::from(node < self.rules.len());
                if length > longest {
                    return Some(node);
                }
                if let Some(slot) = lengths.get_mut(node) {
                    *slot = Some(length);
                }
            }
        }
        None
    }

    /// The rules on a shortest way from a rule to itself.
    fn cycle(&self, start: usize, dynamic: bool) -> Option<Vec<usize>> {
        let mut from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in self.edges.get(node).into_iter().flatten() {
                if !dynamic && self.dynamic.contains(&(node, *next)) {
                    continue;
                }
                if *next == start {
                    let mut path = vec![start];
                    let mut at = node;
                    while at != start {
                        path.push(at);
                        at = *from.get(&at)?;
                    }
                    path.push(start);
                    path.reverse();
                    path.retain(|at| *at < self.rules.len());
                    return Some(path);
                }
                if !from.contains_key(next) {
                    from.insert(*next, node);
                    queue.push_back(*next);
                }
            }
        }
        None
    }
}

/// Whether two paths may be of one document from an element on; what is not a constant may be anything.
fn may_intersect(a: &[Item], b: &[Item], from: usize) -> bool {
    a.iter().zip(b).skip(from).all(|(a, b)| !is_constant(a) || !is_constant(b) || Key::of(a) == Key::of(b))
}

/// Tarjan's algorithm with a stack of its own.
struct Search<'a> {
    edges: &'a [Vec<usize>],
    order: Vec<usize>,
    low: Vec<usize>,
    component: Vec<usize>,
    stack: Vec<usize>,
    next: usize,
}

impl Search<'_> {
    fn get(list: &[usize], at: usize) -> usize {
        list.get(at).copied().unwrap_or(usize::MAX)
    }

    fn set(list: &mut [usize], at: usize, value: usize) {
        if let Some(slot) = list.get_mut(at) {
            *slot = value;
        }
    }

    fn enter(&mut self, node: usize) {
        Self::set(&mut self.order, node, self.next);
        Self::set(&mut self.low, node, self.next);
        self.next += 1;
        self.stack.push(node);
    }

    fn lower(&mut self, node: usize, value: usize) {
        let low = Self::get(&self.low, node).min(value);
        Self::set(&mut self.low, node, low);
    }

    fn visit(&mut self, start: usize) {
        if Self::get(&self.order, start) != usize::MAX {
            return;
        }
        let mut calls = vec![(start, 0)];
        self.enter(start);
        while let Some((node, at)) = calls.pop() {
            let next = self.edges.get(node).and_then(|edges| edges.get(at)).copied();
            match next {
                Some(next) => {
                    calls.push((node, at + 1));
                    if Self::get(&self.order, next) == usize::MAX {
                        self.enter(next);
                        calls.push((next, 0));
                    } else if Self::get(&self.component, next) == usize::MAX {
                        self.lower(node, Self::get(&self.order, next));
                    }
                }
                None => self.leave(node, calls.last().map(|(parent, _)| *parent)),
            }
        }
    }

    fn leave(&mut self, node: usize, parent: Option<usize>) {
        let low = Self::get(&self.low, node);
        if low == Self::get(&self.order, node) {
            while let Some(top) = self.stack.pop() {
                Self::set(&mut self.component, top, node);
                if top == node {
                    break;
                }
            }
        }
        if let Some(parent) = parent {
            self.lower(parent, low);
        }
    }
}
