//! Constants that are compared with a place of the input are checked against its possible values. A comparison with a
//! value of another kind never holds, `not` of it always holds, and no error is reported at run time.

use sekisho_rego::syntax::ast::{Expr, ExprKind, InfixOp, Term, TermKind, With};
use sekisho_types::SpiffeId;

use crate::refs::function_name;
use crate::schema::{Place, Step, check_path, is_header, kind, unknown_member};
use crate::scope::Scope;

/// Builtins all of whose arguments are texts.
const OF_TEXTS: [&str; 13] = [
    "contains",
    "endswith",
    "indexof",
    "lower",
    "regex.match",
    "split",
    "startswith",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_suffix",
    "upper",
];
const METHODS: [&str; 8] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// An input of a test that no request can have.
pub(crate) fn in_modifier(with: &With, scope: &Scope<'_>) -> Option<String> {
    let place = scope.kind(&with.target)?;
    check(place, scope.value(&with.value), scope.text(&with.target), scope, true).err()
}

/// A unification that has the same result for every request.
pub(crate) fn in_statement(statement: &Expr, scope: &Scope<'_>) -> Option<String> {
    match &statement.kind {
        ExprKind::Unify(left, right) => compared(left, right, scope, true),
        _ => None,
    }
}

/// A comparison, a membership or a call that has the same result for every request.
pub(crate) fn in_term(term: &Term, scope: &Scope<'_>) -> Option<String> {
    match &term.kind {
        TermKind::Infix { op: InfixOp::Equal | InfixOp::NotEqual, left, right, .. } => {
            compared(left, right, scope, true)
        }
        TermKind::Infix {
            op: InfixOp::Less | InfixOp::LessEqual | InfixOp::Greater | InfixOp::GreaterEqual,
            left,
            right,
            ..
        } => compared(left, right, scope, false),
        TermKind::In { key: None, value, collection } => in_membership(value, collection, scope),
        TermKind::Call { function, arguments } => in_call(&function_name(function), arguments, scope),
        _ => None,
    }
}

fn compared(left: &Term, right: &Term, scope: &Scope<'_>, exact: bool) -> Option<String> {
    [(left, right), (right, left)].into_iter().find_map(|(looked_at, other)| {
        check(scope.kind(looked_at)?, scope.value(other), scope.text(looked_at), scope, exact).err()
    })
}

fn in_membership(value: &Term, collection: &Term, scope: &Scope<'_>) -> Option<String> {
    if let Some(place) = scope.kind(value)
        && let TermKind::Array(items) | TermKind::Set(items) = &scope.value(collection).kind
    {
        return items.iter().find_map(|item| check(place, item, scope.text(value), scope, true).err());
    }
    let shown = scope.text(collection);
    let inner = match scope.kind(collection)? {
        Place::List(inner) | Place::Map(inner) => inner,
        Place::Headers | Place::Claim => &Place::Text,
        Place::Members(_) => return None,
        single => return Some(format!("`{shown}` is {}, so nothing is `in` it", kind(single))),
    };
    check(inner, scope.value(value), &format!("{shown}[_]"), scope, true).err()
}

fn in_call(name: &str, arguments: &[Term], scope: &Scope<'_>) -> Option<String> {
    if let ("object.get", [object, key, _]) = (name, arguments)
        && let Some(key) = key.as_str()
    {
        let mut steps = scope.input_steps(object)?.to_vec();
        steps.push(Step::Name(key.to_string()));
        return check_path(&steps).err();
    }
    if !OF_TEXTS.contains(&name) {
        return None;
    }
    arguments.iter().find_map(|argument| match scope.kind(argument)? {
        Place::Text | Place::Method | Place::Segment | Place::SpiffeId | Place::Claim => None,
        other => Some(format!("`{name}` takes texts, and `{}` is {}", scope.text(argument), kind(other))),
    })
}

/// Whether a constant could stand at a place, as far as it is constant. Of texts more is known where they have to be
/// equal.
fn check(place: &Place, found: &Term, shown: &str, scope: &Scope<'_>, exact: bool) -> Result<(), String> {
    let other = |found: &str| {
        Err(format!("`{shown}` is {}, and {found} is not: this has the same result for every request", kind(place)))
    };
    match (place, &found.kind) {
        (Place::Claim, TermKind::String { .. } | TermKind::Number(_) | TermKind::Bool(_))
        | (Place::Nanos, TermKind::Number(_)) => Ok(()),
        (_, TermKind::String { value: text, .. }) => match place {
            Place::Text | Place::Method | Place::Segment | Place::SpiffeId if !exact => Ok(()),
            Place::Text => Ok(()),
            Place::Method => match METHODS.iter().find(|method| text.eq_ignore_ascii_case(method)) {
                Some(method) if **method != **text => {
                    Err(format!("methods are compared as they are sent: did you mean `\"{method}\"`, not `\"{text}\"`"))
                }
                _ => Ok(()),
            },
            Place::Segment if text.contains('/') => {
                Err(format!("`{shown}` is one segment of a path, so it holds no `/`, as `\"{text}\"` does"))
            }
            Place::Segment => Ok(()),
            Place::SpiffeId => SpiffeId::parse(text)
                .map(drop)
                .map_err(|error| format!("`{shown}`: `{text}` is not a SPIFFE ID: {error}")),
            _ => other(&format!("`\"{text}\"`")),
        },
        (_, TermKind::Number(text)) => other(&format!("`{text}`")),
        (_, TermKind::Bool(value)) => other(&format!("`{value}`")),
        (_, TermKind::Null) => other("`null`"),
        (Place::List(_) | Place::Claim, TermKind::Array(items)) => {
            let inner = if let Place::List(inner) = place { inner } else { &Place::Text };
            items
                .iter()
                .enumerate()
                .try_for_each(|(at, item)| check(inner, scope.value(item), &format!("{shown}[{at}]"), scope, exact))
        }
        (_, TermKind::Array(_)) => other("a list"),
        (_, TermKind::Set(_)) => other("a set"),
        (Place::Members(_) | Place::Map(_) | Place::Headers, TermKind::Object(members)) => {
            members.iter().try_for_each(|(key, value)| {
                let Some(name) = key.as_str() else { return Ok(()) };
                let inner = match place {
                    Place::Members(members) => members
                        .iter()
                        .find(|(known, _)| *known == name.as_ref())
                        .map(|(_, inner)| inner)
                        .ok_or_else(|| unknown_member(shown, name, members))?,
                    Place::Map(inner) => *inner,
                    _ => is_header(name).map(|()| &Place::Text)?,
                };
                check(inner, scope.value(value), &format!("{shown}.{name}"), scope, exact)
            })
        }
        (_, TermKind::Object(_)) => other("an object"),
        // Known only when the policy runs.
        _ => Ok(()),
    }
}
