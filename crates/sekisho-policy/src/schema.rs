//! The closed schema of the input: what a policy may name, and what a test case may hold. A name outside of it is a
//! mistake that would be undefined for ever, and `not` of it would allow.

use regorus::Value;
use sekisho_types::SpiffeId;
use serde_json::Value as Json;

/// What stands at one place of the input.
#[derive(Debug)]
pub(crate) enum Place {
    Text,
    SpiffeId,
    /// Nanoseconds since 1970.
    Nanos,
    /// A text, a whole number or a boolean.
    Claim,
    List(&'static Place),
    /// Members of any name.
    Map(&'static Place),
    /// Exactly these members.
    Members(&'static [(&'static str, Place)]),
}

use Place::{Claim, List, Map, Members, Nanos, Text};

/// The whole input. `docs/formats.md` describes the members.
pub(crate) static INPUT: Place = Members(&[
    ("destination", Place::SpiffeId),
    ("headers", Map(&Text)),
    ("method", Text),
    ("now", Nanos),
    ("path", List(&Text)),
    ("query", Text),
    ("request_id", Text),
    ("subject", Members(&[("claims", Map(&Claim)), ("issued_at", Nanos), ("spiffe_id", Place::SpiffeId)])),
]);

/// One step of a reference into the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Name(String),
    Number,
    /// Known only when the policy runs.
    Any,
}

/// Whether the input can hold something at `steps`; the message names the first step that it cannot have.
pub(crate) fn check_path(steps: &[Step]) -> Result<(), String> {
    let (mut at, mut shown) = (&INPUT, "input".to_owned());
    for step in steps {
        at = match (at, step) {
            (Members(members), Step::Name(name)) => match members.iter().find(|(known, _)| known == name) {
                Some((_, place)) => place,
                None => return Err(unknown_member(&shown, name, members)),
            },
            // A policy that looks for a name of its own choosing: nothing can be said before it runs.
            (Members(_), Step::Any) => return Ok(()),
            (Map(inner), Step::Name(_) | Step::Any) | (List(inner), Step::Number | Step::Any) => inner,
            (List(_), Step::Name(name)) => {
                return Err(format!(
                    "`{shown}` is a list, so it has no member `{name}`; write `{shown}[0]`, for example"
                ));
            }
            (Members(_) | Map(_), Step::Number) => {
                return Err(format!("`{shown}` has named members, and no numbered ones"));
            }
            (Text | Place::SpiffeId | Nanos | Claim, _) => {
                return Err(format!("`{shown}` is {}, so it has no members", kind(at)));
            }
        };
        match step {
            Step::Name(name) => shown = format!("{shown}.{name}"),
            Step::Number | Step::Any => shown.push_str("[_]"),
        }
    }
    Ok(())
}

/// Whether what stands at these keys is a text, where it stands at all.
pub(crate) fn is_text(keys: &[Value]) -> bool {
    matches!(place(keys), Some(Text | Place::SpiffeId))
}

/// What the schema says of a place with constant keys.
fn place(keys: &[Value]) -> Option<&'static Place> {
    keys.iter().try_fold(&INPUT, |at, key| match (at, key) {
        (Members(members), Value::String(name)) => {
            members.iter().find(|(known, _)| *known == &**name).map(|(_, place)| place)
        }
        (Map(inner), Value::String(_)) | (List(inner), Value::Number(_)) => Some(*inner),
        _ => None,
    })
}

/// Whether `document` could be an input, in whole or in part: members may be absent, none may be unknown or of another kind.
pub(crate) fn check_document(document: &Json) -> Result<(), String> {
    check_place(&INPUT, document, "input")
}

fn check_place(place: &Place, found: &Json, shown: &str) -> Result<(), String> {
    let wrong = || Err(format!("`{shown}` must be {}, not `{found}`", kind(place)));
    match (place, found) {
        (Text, Json::String(_)) | (Claim, Json::String(_) | Json::Bool(_)) => Ok(()),
        (Place::SpiffeId, Json::String(text)) => {
            SpiffeId::parse(text).map(drop).map_err(|error| format!("`{shown}`: `{text}` is not a SPIFFE ID: {error}"))
        }
        (Nanos | Claim, Json::Number(number)) if number.is_i64() => Ok(()),
        (List(inner), Json::Array(items)) => {
            items.iter().enumerate().try_for_each(|(at, item)| check_place(inner, item, &format!("{shown}[{at}]")))
        }
        (Map(inner), Json::Object(members)) => {
            members.iter().try_for_each(|(name, value)| check_place(inner, value, &format!("{shown}.{name}")))
        }
        (Members(known), Json::Object(members)) => {
            members.iter().try_for_each(|(name, value)| match known.iter().find(|(known, _)| known == name) {
                Some((_, place)) => check_place(place, value, &format!("{shown}.{name}")),
                None => Err(unknown_member(shown, name, known)),
            })
        }
        _ => wrong(),
    }
}

const fn kind(place: &Place) -> &'static str {
    match place {
        Text => "a text",
        Place::SpiffeId => "a SPIFFE ID",
        Nanos => "a whole number of nanoseconds since 1970",
        Claim => "a text, a whole number or a boolean",
        List(_) => "a list",
        Map(_) | Members(_) => "an object",
    }
}

fn unknown_member(shown: &str, name: &str, members: &[(&'static str, Place)]) -> String {
    let known = members.iter().map(|(known, _)| *known);
    let guess = nearest(name, known.clone()).map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
    format!("`{shown}` has no member `{name}`{guess} (it has {})", known.collect::<Vec<_>>().join(", "))
}

/// The known name that is most like `name`, if one is.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.map(|known| (strsim::jaro_winkler(name, known), known));
    rated.filter(|(likeness, _)| *likeness > 0.8).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}
