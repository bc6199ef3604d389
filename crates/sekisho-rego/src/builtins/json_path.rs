//! `json.filter`, `json.remove` and `json.patch`: parts of documents named by paths.

use super::context::{BuiltinError, Context, MAX_DEPTH, Outcome, done, failure};
use super::operand::{any, array, items, object, operand_error, small, type_error};
use crate::value::{Array, Object, Set, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] =
    &[("json.filter", filter), ("json.remove", remove), ("json.patch", patch)];

/// The segments of a path: a text separated by `/`, or an array.
fn segments(cx: &mut Context, path: &Value) -> Result<Vec<Value>, BuiltinError> {
    let segments = match path {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => {
            cx.spend(text.len().saturating_mul(2))?;
            let parts = text.trim_start_matches('/').split('/');
            parts.map(|part| Value::from(part.replace("~1", "/").replace("~0", "~"))).collect()
        }
        Value::Array(items) => items.to_vec(),
        other => {
            let kind = other.type_name();
            let text = "must be one of {set, array} containing string paths or array of path segments but got";
            return Err(operand_error(1, &format!("{text} {kind}")));
        }
    };
    cx.spend(segments.len())?;
    if segments.len() > MAX_DEPTH {
        return Err(failure("path is too long"));
    }
    Ok(segments)
}

/// Paths as a tree; a path that ends inside another one covers it.
#[derive(Default)]
struct Tree {
    whole: bool,
    children: Vec<(Value, Tree)>,
}

impl Tree {
    fn new(cx: &mut Context, args: &[Value]) -> Result<Tree, BuiltinError> {
        let paths = items(any(args, 1)?).ok_or_else(|| type_error(args, 1, &["set", "array"]))?;
        let mut paths = paths.iter().map(|path| segments(cx, path)).collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| !path.is_empty());
        cx.spend(paths.len().saturating_mul(8))?;
        paths.sort();
        Ok(Tree::from_sorted(&paths, 0))
    }

    fn from_sorted(paths: &[Vec<Value>], depth: usize) -> Tree {
        let mut tree = Tree::default();
        for run in paths.chunk_by(|a, b| a.get(depth) == b.get(depth)) {
            match run.first().and_then(|path| path.get(depth)) {
                None => tree.whole = true,
                Some(key) => tree.children.push((key.clone(), Tree::from_sorted(run, depth + 1))),
            }
        }
        tree
    }

    fn child(&self, key: &Value) -> Option<&Tree> {
        let at = self.children.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.children.get(at).map(|(_, tree)| tree)
    }
}

/// The key of an array's element in a path.
fn index_key(index: usize) -> Value {
    Value::from(index.to_string())
}

fn filter(cx: &mut Context, args: &[Value]) -> Outcome {
    let document = any(args, 0)?;
    object(args, 0)?;
    let tree = Tree::new(cx, args)?;
    done(filtered(cx, document, &tree)?)
}

fn filtered(cx: &mut Context, value: &Value, tree: &Tree) -> Result<Value, BuiltinError> {
    if tree.whole {
        return Ok(value.clone());
    }
    Ok(match value {
        Value::Object(object) => {
            cx.spend(object.len().min(tree.children.len()))?;
            let mut members = Vec::new();
            for (key, child) in &tree.children {
                if let Some(value) = object.get(key) {
                    members.push((key.clone(), filtered(cx, value, child)?));
                }
            }
            Value::from(Object::from_vec(members))
        }
        Value::Array(items) => {
            cx.spend(items.len())?;
            let mut kept = Vec::new();
            for (index, item) in items.iter().enumerate() {
                if let Some(child) = tree.child(&index_key(index)) {
                    kept.push(filtered(cx, item, child)?);
                }
            }
            Value::from(kept)
        }
        Value::Set(items) => {
            cx.spend(items.len())?;
            let mut kept = Vec::new();
            for item in items.iter() {
                if let Some(child) = tree.child(item) {
                    kept.push(filtered(cx, item, child)?);
                }
            }
            Value::from(Set::from_vec(kept))
        }
        scalar => scalar.clone(),
    })
}

fn remove(cx: &mut Context, args: &[Value]) -> Outcome {
    object(args, 0)?;
    let tree = Tree::new(cx, args)?;
    removed(cx, any(args, 0)?, Some(&tree))
}

/// The value without what the paths name; none if they name all of it.
fn removed(cx: &mut Context, value: &Value, tree: Option<&Tree>) -> Result<Option<Value>, BuiltinError> {
    let tree = match tree {
        Some(tree) if tree.whole => return Ok(None),
        Some(tree) if !tree.children.is_empty() => tree,
        _ => return Ok(Some(value.clone())),
    };
    Ok(Some(match value {
        Value::Object(object) => {
            cx.spend(object.len())?;
            let mut members = Vec::with_capacity(object.len());
            for (key, value) in object.iter() {
                if let Some(rest) = removed(cx, value, tree.child(key))? {
                    members.push((key.clone(), rest));
                }
            }
            Value::from(Object::from_vec(members))
        }
        Value::Array(items) => {
            let mut kept = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                cx.spend(1)?;
                kept.extend(removed(cx, item, tree.child(&index_key(index)))?);
            }
            Value::from(kept)
        }
        Value::Set(items) => {
            cx.spend(items.len())?;
            let mut kept = Vec::with_capacity(items.len());
            for item in items.iter() {
                kept.extend(removed(cx, item, tree.child(item))?);
            }
            Value::from(Set::from_vec(kept))
        }
        scalar => scalar.clone(),
    }))
}

fn patch(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut document = Some(any(args, 0)?.clone());
    for operation in array(args, 1)?.iter() {
        let Some(operation) = operation.as_object() else {
            return Err(failure("must be an array of JSON-Patch objects, but at least one element is not an object"));
        };
        document = apply(cx, document, operation)?;
    }
    if let Some(value) = &document {
        cx.spend_value(value)?;
    }
    Ok(document)
}

fn attribute<'a>(operation: &'a Object, name: &str) -> Result<&'a Value, BuiltinError> {
    operation.get_str(name).ok_or_else(|| failure(format!("missing required attribute '{name}'")))
}

fn apply(cx: &mut Context, document: Option<Value>, operation: &Object) -> Result<Option<Value>, BuiltinError> {
    let path = attribute(operation, "path")?;
    let op = attribute(operation, "op")?;
    let Some(op) = op.as_str() else {
        return Err(failure(format!("attribute 'op' must be a string but found: {}", op.type_name())));
    };
    let path = segments(cx, path)?;
    let gone = || failure("deleted node encountered");
    let from = |cx: &mut Context| segments(cx, attribute(operation, "from")?);
    match op {
        "add" => edit(cx, document, &path, Edit::Insert(attribute(operation, "value")?.clone())),
        "remove" => edit(cx, document, &path, Edit::Delete),
        "replace" => {
            let rest = edit(cx, document, &path, Edit::Delete)?;
            edit(cx, rest, &path, Edit::Insert(attribute(operation, "value")?.clone()))
        }
        "move" => {
            let from = from(cx)?;
            let part = find(document.as_ref().ok_or_else(gone)?, &from)?.clone();
            let rest = edit(cx, document, &from, Edit::Delete)?;
            edit(cx, rest, &path, Edit::Insert(part))
        }
        "copy" => {
            let part = find(document.as_ref().ok_or_else(gone)?, &from(cx)?)?.clone();
            edit(cx, document, &path, Edit::Insert(part))
        }
        "test" => {
            let wanted = attribute(operation, "value")?;
            let found = find(document.as_ref().ok_or_else(gone)?, &path)?;
            cx.spend_value(wanted)?;
            if found != wanted {
                return Err(failure("value at the path differs from the value of the test"));
            }
            Ok(document)
        }
        _ => Err(failure(format!("unrecognized op: '{op}'"))),
    }
}

fn find<'a>(document: &'a Value, path: &[Value]) -> Result<&'a Value, BuiltinError> {
    path.iter().try_fold(document, |value, key| {
        let found = match value {
            Value::Array(items) => items.get(index(items, key)?),
            _ => value.get(key),
        };
        found.ok_or_else(|| failure(format!("path {key} does not exist")))
    })
}

/// The index that a segment names; `-` is the place after the last element.
fn index(items: &Array, key: &Value) -> Result<usize, BuiltinError> {
    let position = match key {
        Value::Number(number) => small(number),
        Value::String(text) if &**text == "-" => i64::try_from(items.len()).ok(),
        Value::String(text) if text.len() > 1 && text.starts_with('0') => None,
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    position.and_then(|position| usize::try_from(position).ok()).ok_or_else(|| failure("invalid index of an array"))
}

enum Edit {
    Insert(Value),
    Delete,
}

/// Rewrites the value at a path, and with it all values above.
fn edit(cx: &mut Context, value: Option<Value>, path: &[Value], change: Edit) -> Result<Option<Value>, BuiltinError> {
    let Some((key, rest)) = path.split_first() else {
        return match change {
            Edit::Insert(new) => Ok(Some(new)),
            Edit::Delete if value.is_none() => Err(failure("deleted node encountered during delete operation")),
            Edit::Delete => Ok(None),
        };
    };
    let value = value.ok_or_else(|| failure("deleted node encountered"))?;
    let missing = || failure(format!("path {key} does not exist"));
    match value {
        Value::Object(mut object) => {
            cx.spend(object.len())?;
            let old = object.remove(key);
            if old.is_none() && (!rest.is_empty() || matches!(change, Edit::Delete)) {
                return Err(missing());
            }
            if let Some(new) = edit(cx, old, rest, change)? {
                object.insert(key.clone(), new);
            }
            Ok(Some(Value::from(object)))
        }
        Value::Array(items) => {
            cx.spend(items.len())?;
            let at = index(&items, key)?;
            let mut items = items.into_vec();
            if rest.is_empty() && matches!(change, Edit::Insert(_)) {
                if at > items.len() {
                    return Err(failure("index for array insertion out of bounds"));
                }
            } else if at >= items.len() {
                return Err(missing());
            }
            let old = (!rest.is_empty() || matches!(change, Edit::Delete)).then(|| items.remove(at));
            if let Some(new) = edit(cx, old, rest, change)? {
                items.insert(at, new);
            }
            Ok(Some(Value::from(items)))
        }
        Value::Set(mut set) => {
            cx.spend(set.len())?;
            if rest.is_empty()
                && let Edit::Insert(new) = change
            {
                if new != *key {
                    return Err(failure(format!("set key {key} does not equal value to be inserted {new}")));
                }
                set.insert(new);
                return Ok(Some(Value::from(set)));
            }
            let old = set.get(key).cloned().ok_or_else(missing)?;
            let mut items: Vec<Value> = set.iter().filter(|item| *item != key).cloned().collect();
            items.extend(edit(cx, Some(old), rest, change)?);
            Ok(Some(Value::from(Set::from_vec(items))))
        }
        other => Err(failure(format!("expected composite type, found {}", other.type_name()))),
    }
}
