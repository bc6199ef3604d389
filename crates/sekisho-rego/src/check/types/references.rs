//! The types of items and references.

use super::super::flat::{Base, Comprehension, ComprehensionKind, Item, VarId};
use super::super::tree::Key;
use super::lattice::{self, MOST_MEMBERS, any_of, keys, meet, values};
use super::show::show;
use super::state::Checker;
use crate::builtins::Type;
use crate::syntax::ast::Span;

/// Collections within collections whose types are looked at, within a rule and those that it uses.
const MOST_NESTED: usize = 1_000;

impl Checker<'_, '_> {
    /// The type of an item; what is not known, or nested too deep, is any.
    pub(super) fn type_of(&mut self, item: &Item, span: Span) -> Type {
        match item {
            Item::Array(_) | Item::Set(_) | Item::Object(_) | Item::Comprehension(_) => {
                if self.rules.nested >= MOST_NESTED {
                    return Type::Any;
                }
                self.rules.nested += 1;
                let found = lattice::bounded(self.composite(item, span));
                self.rules.nested -= 1;
                found
            }
            _ => self.simple(item, span),
        }
    }

    fn simple(&mut self, item: &Item, span: Span) -> Type {
        match item {
            Item::Null => Type::Null,
            Item::Bool(_) => Type::Bool,
            Item::Number(_) => Type::Number,
            Item::String(_) => Type::String,
            Item::Var(id) => self.env.get(id).cloned().unwrap_or(Type::Any),
            Item::Ref(base, path) => self.reference(*base, path, span),
            _ => Type::Any,
        }
    }

    fn composite(&mut self, item: &Item, span: Span) -> Type {
        match item {
            Item::Array(items) => {
                let kinds: Vec<Type> = items.iter().map(|item| self.type_of(item, span)).collect();
                if kinds.len() > MOST_MEMBERS {
                    let element = any_of(kinds).unwrap_or(Type::Any);
                    return Type::Array(Vec::new(), Some(Box::new(element)));
                }
                Type::Array(kinds, None)
            }
            Item::Set(items) => {
                let kinds: Vec<Type> = items.iter().map(|item| self.type_of(item, span)).collect();
                Type::Set(Box::new(any_of(kinds).unwrap_or_else(lattice::empty_set_element)))
            }
            Item::Object(pairs) => self.object(pairs, span),
            Item::Comprehension(comprehension) => self.comprehension(comprehension, span),
            _ => Type::Any,
        }
    }

    fn object(&mut self, pairs: &[(Item, Item)], span: Span) -> Type {
        let mut members = Vec::new();
        let mut more: Option<(Type, Type)> = None;
        for (key, value) in pairs {
            let value = self.type_of(value, span);
            match key {
                Item::String(name) if pairs.len() <= MOST_MEMBERS => members.push((name.to_string(), value)),
                _ => {
                    let key = self.type_of(key, span);
                    more = Some(match more {
                        None => (key, value),
                        Some((keys, values)) => (lattice::or(keys, key), lattice::or(values, value)),
                    });
                }
            }
        }
        Type::Object(members, more.map(Box::new))
    }

    fn comprehension(&mut self, comprehension: &Comprehension, span: Span) -> Type {
        let mark = self.journal.len();
        self.body(&comprehension.body);
        let kinds: Vec<Type> = comprehension.terms.iter().map(|item| self.type_of(item, span)).collect();
        self.forget(mark);
        let mut kinds = kinds.into_iter();
        let first = kinds.next().unwrap_or(Type::Any);
        match comprehension.kind {
            ComprehensionKind::Array => Type::Array(Vec::new(), Some(Box::new(first))),
            ComprehensionKind::Set => Type::Set(Box::new(first)),
            ComprehensionKind::Object => {
                Type::Object(Vec::new(), Some(Box::new((first, kinds.next().unwrap_or(Type::Any)))))
            }
        }
    }

    /// The type of what a reference leads to. Gives variables in it a type.
    fn reference(&mut self, base: Base, path: &[Item], span: Span) -> Type {
        match base {
            Base::Input => {
                let start = if self.relaxed { Type::Any } else { self.annotated.input.clone() };
                self.along(start, path, (base, path), span)
            }
            Base::Var(id) => {
                let start = self.env.get(&id).cloned().unwrap_or(Type::Any);
                self.along(start, path, (base, path), span)
            }
            Base::Data => {
                let mut at = 0;
                for (depth, item) in path.iter().enumerate() {
                    let Some(child) = Key::of(item).and_then(|key| self.rules.tree.child(at, &key)) else { break };
                    at = child;
                    let Some(node) = self.rules.tree.node(at).filter(|node| !node.rules.is_empty()) else { continue };
                    if !node.children.is_empty() || self.relaxed {
                        break;
                    }
                    let rest = path.get(depth + 1..).unwrap_or_default();
                    let start = self.node_type(at);
                    return self.along(start, rest, (base, path), span);
                }
                let names: Vec<&str> = path.iter().map_while(text).collect();
                match self.annotated.of_data(&names).filter(|_| !self.relaxed) {
                    Some((length, start)) => {
                        self.along(start, path.get(length..).unwrap_or_default(), (base, path), span)
                    }
                    None => self.along(Type::Any, path, (base, path), span),
                }
            }
        }
    }

    fn along(&mut self, start: Type, rest: &[Item], whole: (Base, &[Item]), span: Span) -> Type {
        let mut kind = start;
        for item in rest {
            match self.step_into(&kind, item, span) {
                Some(next) => kind = next,
                None => {
                    let name = self.show_reference(whole.0, whole.1);
                    let hint = format!("have: {}", show(&kind));
                    self.report(span, format!("undefined ref: {name}"), &[hint]);
                    return Type::Any;
                }
            }
        }
        kind
    }

    /// The type of an element of a collection; none if there can be no such element.
    fn step_into(&mut self, kind: &Type, item: &Item, span: Span) -> Option<Type> {
        let constant = matches!(item, Item::String(_) | Item::Number(_) | Item::Bool(_) | Item::Null);
        if *kind == Type::Any || lattice::is_empty(kind) && !constant {
            self.bind_all(item);
            return Some(Type::Any);
        }
        let keys = keys(kind)?;
        match item {
            Item::Var(id) => {
                match self.env.get(id) {
                    Some(known) if !meet(known, &keys) => return None,
                    Some(_) => {}
                    None => {
                        self.learn(*id, keys);
                    }
                }
                values(kind)
            }
            Item::String(_) | Item::Number(_) | Item::Bool(_) | Item::Null => select(kind, item),
            Item::Ref(..) => {
                let found = self.type_of(item, span);
                if meet(&found, &keys) { values(kind) } else { None }
            }
            other => {
                if self.bind(other, &keys, span) {
                    values(kind)
                } else {
                    None
                }
            }
        }
    }

    /// Gives all variables of an item that have no type the type of any value.
    pub(super) fn bind_all(&mut self, item: &Item) {
        let mut vars: Vec<VarId> = Vec::new();
        super::super::vars::in_item(item, super::super::vars::Skip::CLOSURES, &mut |id| vars.push(id));
        for id in vars {
            if !self.env.contains_key(&id) {
                self.learn(id, Type::Any);
            }
        }
    }
}

/// The type of the element under a constant key; none if there can be none.
fn select(kind: &Type, key: &Item) -> Option<Type> {
    match (kind, key) {
        (Type::Any, _) => Some(Type::Any),
        (Type::Union(kinds), _) => any_of(kinds.iter().filter_map(|kind| select(kind, key))),
        (kind, _) if lattice::is_empty(kind) => None,
        (Type::Array(items, more), Item::Number(text)) => match text.parse::<usize>() {
            Ok(at) => items.get(at).cloned().or_else(|| more.as_deref().cloned()),
            Err(_) => None,
        },
        (Type::Object(members, more), Item::String(name)) => {
            let fixed = members.iter().find(|(key, _)| **key == **name).map(|(_, kind)| kind.clone());
            let open = more.as_ref().filter(|more| meet(&more.0, &Type::String)).map(|more| more.1.clone());
            fixed.or(open)
        }
        (Type::Object(_, more), _) => {
            more.as_ref().filter(|more| meet(&more.0, &scalar(key))).map(|more| more.1.clone())
        }
        (Type::Set(element), _) if meet(element, &scalar(key)) => Some((**element).clone()),
        _ => None,
    }
}

fn text(item: &Item) -> Option<&str> {
    match item {
        Item::String(text) => Some(text),
        _ => None,
    }
}

fn scalar(item: &Item) -> Type {
    match item {
        Item::Null => Type::Null,
        Item::Bool(_) => Type::Bool,
        Item::Number(_) => Type::Number,
        Item::String(_) => Type::String,
        _ => Type::Any,
    }
}
