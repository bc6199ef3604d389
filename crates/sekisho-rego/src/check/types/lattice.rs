//! Operations on types.

use crate::builtins::Type;

/// The most alternatives of a union; beyond it a value may be anything.
const MOST_ALTERNATIVES: usize = 12;

/// The most members of an array or object that have types of their own.
pub(super) const MOST_MEMBERS: usize = 64;

/// How deep a type may be; below it a value may be anything.
const MOST_LEVELS: usize = 6;

/// A type for what is either `a` or `b`.
pub(super) fn or(a: Type, b: Type) -> Type {
    match (a, b) {
        (Type::Any, _) | (_, Type::Any) => Type::Any,
        (a, b) if a == b => a,
        (a, b) => {
            let mut all = alternatives(a);
            for b in alternatives(b) {
                if !all.contains(&b) {
                    all.push(b);
                }
            }
            if all.len() > MOST_ALTERNATIVES { Type::Any } else { Type::Union(all) }
        }
    }
}

fn alternatives(kind: Type) -> Vec<Type> {
    match kind {
        Type::Union(kinds) => kinds,
        kind => vec![kind],
    }
}

/// A type for what is one of several; none if there are none.
pub(super) fn any_of(kinds: impl IntoIterator<Item = Type>) -> Option<Type> {
    kinds.into_iter().reduce(or)
}

/// Whether one value can be of both types.
pub(super) fn meet(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Any, _) | (_, Type::Any) => true,
        (Type::Union(kinds), other) | (other, Type::Union(kinds)) => {
            kinds.is_empty() || kinds.iter().any(|kind| meet(kind, other))
        }
        (Type::Array(a, more_a), Type::Array(b, more_b)) => {
            let item = |list: &[Type], more: &Option<Box<Type>>, at: usize| {
                list.get(at).cloned().or_else(|| more.as_deref().cloned())
            };
            let fixed = (0..a.len().max(b.len())).all(|at| match (item(a, more_a, at), item(b, more_b, at)) {
                (Some(a), Some(b)) => meet(&a, &b),
                _ => false,
            });
            fixed && more_a.iter().zip(more_b).all(|(a, b)| meet(a, b))
        }
        (Type::Set(a), Type::Set(b)) => meet(a, b),
        (Type::Object(a, more_a), Type::Object(b, more_b)) => {
            let open = more_a.is_some() || more_b.is_some();
            members_meet(a, b, more_b.as_deref(), open)
                && members_meet(b, a, more_a.as_deref(), open)
                && more_a.iter().zip(more_b).all(|(a, b)| !meet(&a.0, &b.0) || meet(&a.1, &b.1))
        }
        (a, b) => a == b,
    }
}

/// Whether the named members of one object can be those of another, which may have `more` of some keys and values.
fn members_meet(a: &[(String, Type)], b: &[(String, Type)], more: Option<&(Type, Type)>, open: bool) -> bool {
    a.iter().all(|(key, kind)| match b.iter().find(|(other, _)| other == key) {
        Some((_, other)) => meet(kind, other),
        None => match more {
            Some((keys, values)) if meet(keys, &Type::String) => meet(kind, values),
            _ => open,
        },
    })
}

/// The type of the keys of a collection; none if the type is of no collection.
pub(super) fn keys(kind: &Type) -> Option<Type> {
    match kind {
        Type::Any => Some(Type::Any),
        Type::Array(..) => Some(Type::Number),
        Type::Set(element) => Some((**element).clone()),
        Type::Object(members, more) => {
            let fixed = members.first().map(|_| Type::String);
            let more = more.as_ref().map(|more| more.0.clone());
            Some(any_of(fixed.into_iter().chain(more)).unwrap_or(Type::Any))
        }
        Type::Union(kinds) => any_of(kinds.iter().filter_map(keys)),
        _ => None,
    }
}

/// The type of the elements of a collection; none if the type is of no collection.
pub(super) fn values(kind: &Type) -> Option<Type> {
    match kind {
        Type::Any => Some(Type::Any),
        Type::Array(items, more) => {
            Some(any_of(items.iter().cloned().chain(more.as_deref().cloned())).unwrap_or(Type::Any))
        }
        Type::Set(element) => Some((**element).clone()),
        Type::Object(members, more) => {
            let fixed = members.iter().map(|(_, kind)| kind.clone());
            Some(any_of(fixed.chain(more.as_ref().map(|more| more.1.clone()))).unwrap_or(Type::Any))
        }
        Type::Union(kinds) => any_of(kinds.iter().filter_map(values)),
        _ => None,
    }
}

/// Whether a collection of this type has no elements.
pub(super) fn is_empty(kind: &Type) -> bool {
    match kind {
        Type::Array(items, more) => items.is_empty() && more.is_none(),
        Type::Object(members, more) => members.is_empty() && more.is_none(),
        Type::Set(element) => **element == empty_set_element(),
        _ => false,
    }
}

/// The type of the elements of the empty set: none fits, so that the set is of every type of sets.
pub(super) fn empty_set_element() -> Type {
    Type::Union(Vec::new())
}

/// The same type with empty collections taken to be anything: a rule's value may be replaced.
pub(super) fn relax(kind: Type) -> Type {
    if is_empty(&kind) {
        return Type::Any;
    }
    match kind {
        Type::Array(items, more) => {
            Type::Array(items.into_iter().map(relax).collect(), more.map(|more| Box::new(relax(*more))))
        }
        Type::Set(element) => Type::Set(Box::new(relax(*element))),
        Type::Object(members, more) => Type::Object(
            members.into_iter().map(|(key, kind)| (key, relax(kind))).collect(),
            more.map(|more| Box::new((more.0, relax(more.1)))),
        ),
        Type::Union(kinds) => any_of(kinds.into_iter().map(relax)).unwrap_or(Type::Any),
        kind => kind,
    }
}

/// The most parts of a type; a larger one is made less deep.
const MOST_PARTS: usize = 300;

/// A type of bounded size that holds all values of `kind`, whose own parts are bounded.
pub(super) fn bounded(kind: Type) -> Type {
    let mut kind = kind;
    for levels in [MOST_LEVELS, 3, 1, 0] {
        kind = flatten(kind, levels);
        if parts(&kind) <= MOST_PARTS {
            break;
        }
    }
    kind
}

fn parts(kind: &Type) -> usize {
    1 + match kind {
        Type::Array(items, more) => items.iter().chain(more.as_deref()).map(parts).sum(),
        Type::Set(element) => parts(element),
        Type::Object(members, more) => {
            let fixed: usize = members.iter().map(|(_, kind)| parts(kind)).sum();
            fixed + more.as_ref().map_or(0, |more| parts(&more.0) + parts(&more.1))
        }
        Type::Union(kinds) => kinds.iter().map(parts).sum(),
        _ => 0,
    }
}

/// A type of less depth that holds all values of `kind`.
fn flatten(kind: Type, levels: usize) -> Type {
    if levels == 0 {
        return match kind {
            kind @ (Type::Any | Type::Null | Type::Bool | Type::Number | Type::String) => kind,
            _ => Type::Any,
        };
    }
    let deeper = |kind: Type| flatten(kind, levels - 1);
    match kind {
        Type::Array(items, more) => {
            Type::Array(items.into_iter().map(deeper).collect(), more.map(|more| Box::new(flatten(*more, levels - 1))))
        }
        Type::Set(element) => Type::Set(Box::new(deeper(*element))),
        Type::Object(members, more) => Type::Object(
            members.into_iter().map(|(key, kind)| (key, flatten(kind, levels - 1))).collect(),
            more.map(|more| Box::new((flatten(more.0, levels - 1), flatten(more.1, levels - 1)))),
        ),
        Type::Union(kinds) => Type::Union(kinds.into_iter().map(|kind| flatten(kind, levels)).collect()),
        kind => kind,
    }
}
