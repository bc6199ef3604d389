//! The closed schema of the input: what a policy may name, and what a test case may hold. A name outside of it is a
//! mistake that would always be undefined, and `not` of it would allow.

use sekisho_rego::value::Value;
use sekisho_types::SpiffeId;
use serde_json::Value as Json;

/// The kind of value at one place of the input.
#[derive(Debug)]
pub(crate) enum Place {
    Text,
    /// A method of HTTP, as sent.
    Method,
    /// One segment of a path: a text without `/`.
    Segment,
    SpiffeId,
    /// Nanoseconds since 1970.
    Nanos,
    /// A text, a whole number, a boolean or a list of texts.
    Claim,
    List(&'static Place),
    /// Members of any name.
    Map(&'static Place),
    /// Texts by the names of headers, which are in lower case.
    Headers,
    /// Exactly these members.
    Members(&'static [(&'static str, Place)]),
}

use Place::{Claim, List, Map, Members, Nanos, Text};

/// The whole input. `docs/formats.md` describes the members.
pub(crate) static INPUT: Place = Members(&[
    ("destination", Place::SpiffeId),
    ("headers", Place::Headers),
    ("method", Place::Method),
    ("now", Nanos),
    ("path", List(&Place::Segment)),
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

/// What the input can hold at `steps`; the message names the first step that it cannot have. `None` for what is known
/// only when the policy runs.
pub(crate) fn check_path(steps: &[Step]) -> Result<Option<&'static Place>, String> {
    let (mut at, mut shown) = (&INPUT, "input".to_owned());
    for step in steps {
        at = match (at, step) {
            (Members(members), Step::Name(name)) => match members.iter().find(|(known, _)| known == name) {
                Some((_, place)) => place,
                None => return Err(unknown_member(&shown, name, members)),
            },
            // A policy that computes the name: nothing can be checked before it runs.
            (Members(_), Step::Any) => return Ok(None),
            (Place::Headers, Step::Name(name)) => is_header(name).map(|()| &Text)?,
            (Place::Headers, Step::Any) => &Text,
            (Map(inner), Step::Name(_) | Step::Any) | (List(inner), Step::Number | Step::Any) => inner,
            // A claim may be a list of texts.
            (Claim, Step::Number | Step::Any) => &Text,
            (List(_), Step::Name(name)) => {
                return Err(format!(
                    "`{shown}` is a list, so it has no member `{name}`; write `{shown}[0]`, for example"
                ));
            }
            (Members(_) | Map(_) | Place::Headers, Step::Number) => {
                return Err(format!("`{shown}` has named members, and no numbered ones"));
            }
            (Text | Place::Method | Place::Segment | Place::SpiffeId | Nanos | Claim, _) => {
                return Err(format!("`{shown}` is {}, so it has no members", kind(at)));
            }
        };
        match step {
            Step::Name(name) => shown = format!("{shown}.{name}"),
            Step::Number | Step::Any => shown.push_str("[_]"),
        }
    }
    Ok(Some(at))
}

/// A request's headers are looked up by their names in lower case, so that no other spelling finds them.
pub(crate) fn is_header(name: &str) -> Result<(), String> {
    let lower = name.to_lowercase();
    if lower == name {
        return Ok(());
    }
    Err(format!("header names are in lower case, so `{name}` is never there; write `input.headers[\"{lower}\"]`"))
}

/// Whether the value at these keys is a text, if there is one.
pub(crate) fn is_text(keys: &[Value]) -> bool {
    let step = |key: &Value| key.as_str().map_or(Step::Number, |name| Step::Name(name.to_owned()));
    let place = check_path(&keys.iter().map(step).collect::<Vec<_>>());
    matches!(place, Ok(Some(Text | Place::Method | Place::Segment | Place::SpiffeId)))
}

/// Whether `document` could be an input, in whole or in part: members may be absent, none may be unknown or of another
/// kind.
pub(crate) fn check_document(document: &Json) -> Result<(), String> {
    check_place(&INPUT, document, "input")
}

fn check_place(place: &Place, found: &Json, shown: &str) -> Result<(), String> {
    let wrong = || Err(format!("`{shown}` must be {}, not `{found}`", kind(place)));
    match (place, found) {
        (Text | Place::Method, Json::String(_)) | (Claim, Json::String(_) | Json::Bool(_)) => Ok(()),
        (Claim, Json::Array(texts)) if texts.iter().all(Json::is_string) => Ok(()),
        (Place::SpiffeId, Json::String(text)) => {
            SpiffeId::parse(text).map(drop).map_err(|error| format!("`{shown}`: `{text}` is not a SPIFFE ID: {error}"))
        }
        (Place::Segment, Json::String(text)) if text.contains('/') => {
            Err(format!("`{shown}` must hold no `/`, as `{text}` does"))
        }
        (Place::Segment, Json::String(_)) => Ok(()),
        (Place::Headers, Json::Object(members)) => members.iter().try_for_each(|(name, value)| {
            is_header(name)?;
            check_place(&Text, value, &format!("{shown}.{name}"))
        }),
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

pub(crate) const fn kind(place: &Place) -> &'static str {
    match place {
        Text | Place::Method | Place::Segment => "a text",
        Place::SpiffeId => "a SPIFFE ID",
        Nanos => "a whole number of nanoseconds since 1970",
        Claim => "a text, a whole number, a boolean or a list of texts",
        List(_) => "a list",
        Map(_) | Members(_) | Place::Headers => "an object",
    }
}

pub(crate) fn unknown_member(shown: &str, name: &str, members: &[(&'static str, Place)]) -> String {
    let known = members.iter().map(|(known, _)| *known);
    let guess = nearest(name, known.clone()).map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
    format!("`{shown}` has no member `{name}`{guess} (it has {})", known.collect::<Vec<_>>().join(", "))
}

/// The known name that is most like `name`, if one is.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.map(|known| (strsim::jaro_winkler(name, known), known));
    rated.filter(|(likeness, _)| *likeness > 0.8).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}
