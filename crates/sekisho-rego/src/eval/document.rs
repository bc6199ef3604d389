//! Data: base documents, and the tree of rules above them.

use super::error::EvalCode;
use super::machine::{Eval, Machine};
use super::val::Val;
use crate::program::{Key, Node, NodeId, RuleKind, RuleSetId, Slot};
use crate::syntax::ast::Span;
use crate::value::{Object, ObjectBuilder, Value};

/// The most keys of a reference that are followed through the tree of rules.
const LONGEST: usize = 300;

/// Rows of bound slots, each with the value found.
type Rows<'a> = Vec<Box<[Val<'a>]>>;

/// Where a reference has come to.
#[derive(Clone)]
enum Place<'a> {
    Node(NodeId),
    Value(Val<'a>),
}

/// What stays the same while rows are collected.
struct Search<'a, 's> {
    path: &'a [Key],
    outs: &'a [Slot],
    base: usize,
    rows: &'s mut Rows<'a>,
}

impl<'a> Machine<'a> {
    /// Does a modifier replace the document at this path?
    pub(super) fn is_replaced(&self, path: &[Value]) -> bool {
        self.targets.iter().any(|target| path.starts_with(target))
    }

    /// The base document at a path.
    pub(super) fn base_at(&self, path: &[Value]) -> Option<Val<'a>> {
        let mut value = self.data.clone();
        for key in path {
            value = value.get(key)?;
        }
        Some(value)
    }

    fn node(&self, node: NodeId) -> Option<&'a Node> {
        self.program.nodes.get(node as usize)
    }

    /// The whole document at a node: what rules define and the base document, which wins.
    pub(super) fn extent(&mut self, id: NodeId) -> Eval<Option<Val<'a>>> {
        let Some(node) = self.node(id) else { return Ok(None) };
        let base = self.base_at(&node.path);
        if self.is_replaced(&node.path) {
            return Ok(base);
        }
        if let Some(set) = node.rules {
            return self.document(set);
        }
        let mut members = ObjectBuilder::default();
        for (key, child) in &node.children {
            if id == 0 && key.as_str() == Some("system") {
                continue;
            }
            self.tick(1)?;
            if let Some(value) = self.extent(*child)? {
                members.push(key.clone(), value.into_value());
            }
        }
        let rules = Value::Object(members.build());
        let mut base = base;
        if id == 0
            && let Some(Value::Object(object)) = base.as_deref()
            && object.get_str("system").is_some()
        {
            let mut rest = object.clone();
            rest.remove(&Value::from("system"));
            base = Some(Val::Own(Value::Object(rest)));
        }
        Ok(Some(match base {
            None => Val::Own(rules),
            Some(base) => {
                let size = |value: &Value| value.as_object().map_or(0, |object| object.len() as u64);
                self.tick(size(&base).saturating_add(size(&rules)))?;
                Val::Own(merge(&base, &rules))
            }
        }))
    }

    /// The solutions of a reference through the tree.
    pub(super) fn tree_rows(&mut self, node: NodeId, path: &'a [Key], outs: &'a [Slot], base: usize) -> Eval<Rows<'a>> {
        let mut rows = Vec::new();
        self.follow(Place::Node(node), 0, &mut Search { path, outs, base, rows: &mut rows })?;
        Ok(rows)
    }

    fn follow(&mut self, place: Place<'a>, at: usize, search: &mut Search<'a, '_>) -> Eval<()> {
        self.tick(1)?;
        if at > LONGEST {
            return Err(self.error(EvalCode::Limit, "a reference is too long", Span::default()));
        }
        let base = search.base;
        let Some(key) = search.path.get(at) else {
            let value = match place {
                Place::Value(value) => Some(value),
                Place::Node(node) => self.extent(node)?,
            };
            if let Some(value) = value {
                let mut row = self.row(base, search.outs).into_vec();
                row.push(value);
                search.rows.push(row.into());
            }
            return Ok(());
        };
        match (key, place) {
            (Key::Bound(operand), place) => {
                let key = self.operand(operand, base);
                self.descend(place, &key, at, search)
            }
            (Key::Free(pattern), Place::Value(value)) => {
                let mut position = 0;
                while let Some((key, item)) = value.item(position) {
                    self.tick(1)?;
                    position += 1;
                    if self.matches(pattern, key, base) {
                        self.follow(Place::Value(item), at + 1, search)?;
                    }
                }
                Ok(())
            }
            (Key::Free(pattern), Place::Node(id)) => {
                for key in self.keys(id) {
                    self.tick(1)?;
                    if self.matches(pattern, key.clone(), base) {
                        self.descend(Place::Node(id), &key, at, search)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The keys below a node: those of the base document, then those of rules.
    fn keys(&self, id: NodeId) -> Vec<Val<'a>> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let document = self.base_at(&node.path);
        let mut keys = Vec::new();
        if let Some(document) = &document {
            let mut position = 0;
            while let Some((key, _)) = document.item(position) {
                position += 1;
                keys.push(key);
            }
        }
        let ruled = node.children.keys().filter(|key| document.as_ref().is_none_or(|doc| doc.get(key).is_none()));
        keys.extend(ruled.map(Val::Ref));
        keys
    }

    fn descend(&mut self, place: Place<'a>, key: &Val<'a>, at: usize, search: &mut Search<'a, '_>) -> Eval<()> {
        let next = match place {
            Place::Value(value) => value.get(key).map(Place::Value),
            Place::Node(id) => self.child(id, key)?,
        };
        match next {
            Some(next) => self.follow(next, at + 1, search),
            None => Ok(()),
        }
    }

    fn child(&mut self, id: NodeId, key: &Val<'a>) -> Eval<Option<Place<'a>>> {
        let Some(node) = self.node(id) else { return Ok(None) };
        let below = |base: Option<Val<'a>>| base.and_then(|base| base.get(key)).map(Place::Value);
        let Some(child) = node.children.get(&**key) else {
            return Ok(below(self.base_at(&node.path)));
        };
        let path = self.node(*child).map_or(&[][..], |child| &child.path);
        if self.is_replaced(path) {
            return Ok(below(self.base_at(&node.path)));
        }
        match self.node(*child).and_then(|child| child.rules) {
            Some(set) if self.is_function(set) => Ok(None),
            Some(set) => Ok(self.document(set)?.map(Place::Value)),
            None => Ok(Some(Place::Node(*child))),
        }
    }

    fn is_function(&self, set: RuleSetId) -> bool {
        let set = self.program.sets.get(set as usize);
        set.is_some_and(|set| matches!(set.kind, RuleKind::Function(_)))
    }
}

/// Both objects in one; where both have a key, objects are merged, else the first wins.
fn merge(first: &Value, second: &Value) -> Value {
    let (Value::Object(a), Value::Object(b)) = (first, second) else { return first.clone() };
    if a.is_empty() {
        return second.clone();
    }
    if b.is_empty() {
        return first.clone();
    }
    let mut members = ObjectBuilder::with_capacity(a.len() + b.len());
    for (key, value) in b.iter().filter(|(key, _)| a.get(key).is_none()) {
        members.push(key.clone(), value.clone());
    }
    for (key, value) in a.iter() {
        let merged = b.get(key).map_or_else(|| value.clone(), |other| merge(value, other));
        members.push(key.clone(), merged);
    }
    Value::Object(members.build())
}

/// The value with another one put at a path; what is not an object on the way becomes one.
pub(super) fn put(value: Option<&Value>, path: &[Value], leaf: Value) -> Value {
    let Some((key, rest)) = path.split_first() else { return leaf };
    let mut object = match value {
        Some(Value::Object(object)) => object.clone(),
        _ => Object::default(),
    };
    let inner = put(object.get(key), rest, leaf);
    object.insert(key.clone(), inner);
    Value::Object(object)
}
