//! Constants that are compared with a place of the input are checked against its possible values. A comparison with a
//! value of another kind never holds, `not` of it always holds, and no error is reported at run time.

use regorus::Value;
use regorus::unstable::{AssignOp, BoolOp, Expr, LiteralStmt, Ref};
use sekisho_types::SpiffeId;

use crate::refs::leading_path;
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
pub(crate) fn in_statement(statement: &LiteralStmt, scope: &Scope) -> Option<String> {
    statement.with_mods.iter().find_map(|with| {
        let place = place(&with.refr, scope)?;
        check(place, scope.value(&with.r#as), &shown(&with.refr), scope, true).err()
    })
}

/// A comparison, a membership or a call that has the same result for every request.
pub(crate) fn in_expression(expr: &Expr, scope: &Scope) -> Option<String> {
    let compared = |left: &Ref<Expr>, right: &Ref<Expr>, exact: bool| {
        [(left, right), (right, left)].into_iter().find_map(|(looked_at, other)| {
            check(place(looked_at, scope)?, scope.value(other), &shown(looked_at), scope, exact).err()
        })
    };
    match expr {
        Expr::BoolExpr { op, lhs, rhs, .. } => compared(lhs, rhs, matches!(op, BoolOp::Eq | BoolOp::Ne)),
        Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => compared(lhs, rhs, true),
        Expr::Membership { key: None, value, collection, .. } => in_membership(value, collection, scope),
        Expr::Call { fcn, params, .. } => in_call(&leading_path(fcn).join("."), params, scope),
        _ => None,
    }
}

fn in_membership(value: &Ref<Expr>, collection: &Ref<Expr>, scope: &Scope) -> Option<String> {
    if let Some(place) = place(value, scope)
        && let Expr::Array { items, .. } | Expr::Set { items, .. } = &**scope.value(collection)
    {
        return items.iter().find_map(|item| check(place, item, &shown(value), scope, true).err());
    }
    let inner = match place(collection, scope)? {
        Place::List(inner) | Place::Map(inner) => inner,
        Place::Headers => &Place::Text,
        Place::Members(_) => return None,
        single => return Some(format!("`{}` is {}, so nothing is `in` it", shown(collection), kind(single))),
    };
    check(inner, scope.value(value), &format!("{}[_]", shown(collection)), scope, true).err()
}

fn in_call(name: &str, arguments: &[Ref<Expr>], scope: &Scope) -> Option<String> {
    if let ("object.get", [object, key, _]) = (name, arguments)
        && let Expr::String { value: Value::String(key), .. } = &**key
    {
        let mut steps = scope.input_steps(object)?;
        steps.push(Step::Name(key.to_string()));
        return check_path(&steps).err();
    }
    if !OF_TEXTS.contains(&name) {
        return None;
    }
    arguments.iter().find_map(|argument| match place(argument, scope)? {
        Place::Text | Place::Method | Place::Segment | Place::SpiffeId | Place::Claim => None,
        other => Some(format!("`{name}` takes texts, and `{}` is {}", shown(argument), kind(other))),
    })
}

/// The place of the input that an expression names.
fn place(expr: &Ref<Expr>, scope: &Scope) -> Option<&'static Place> {
    check_path(&scope.input_steps(expr)?).ok()?
}

fn shown(expr: &Ref<Expr>) -> String {
    expr.span().text().to_owned()
}

/// Whether a constant could stand at a place, as far as it is constant. Of texts more is known where they have to be
/// equal.
fn check(place: &Place, found: &Ref<Expr>, shown: &str, scope: &Scope, exact: bool) -> Result<(), String> {
    let other = |found: &str| {
        Err(format!("`{shown}` is {}, and {found} is not: this has the same result for every request", kind(place)))
    };
    match (place, &**found) {
        (Place::Claim, Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. } | Expr::Bool { .. })
        | (Place::Nanos, Expr::Number { .. }) => Ok(()),
        (_, Expr::String { value: Value::String(text), .. } | Expr::RawString { value: Value::String(text), .. }) => {
            match place {
                Place::Text | Place::Method | Place::Segment | Place::SpiffeId if !exact => Ok(()),
                Place::Text => Ok(()),
                Place::Method => match METHODS.iter().find(|method| text.eq_ignore_ascii_case(method)) {
                    Some(method) if **method != **text => Err(format!(
                        "methods are compared as they are sent: did you mean `\"{method}\"`, not `\"{text}\"`"
                    )),
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
            }
        }
        (_, Expr::Number { span, .. }) => other(&format!("`{}`", span.text())),
        (_, Expr::Bool { value, .. }) => other(&format!("`{value}`")),
        (_, Expr::Null { .. }) => other("`null`"),
        (Place::List(inner), Expr::Array { items, .. }) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| check(inner, scope.value(item), &format!("{shown}[{at}]"), scope, exact)),
        (_, Expr::Array { .. }) => other("a list"),
        (_, Expr::Set { .. }) => other("a set"),
        (Place::Members(_) | Place::Map(_) | Place::Headers, Expr::Object { fields, .. }) => {
            fields.iter().try_for_each(|(_, key, value)| {
                let Expr::String { value: Value::String(name), .. } = &**key else { return Ok(()) };
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
        (_, Expr::Object { .. }) => other("an object"),
        // Known only when the policy runs.
        _ => Ok(()),
    }
}
