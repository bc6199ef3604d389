//! Types as texts.

use crate::builtins::Type;

/// The longest text of a type.
const LONGEST: usize = 200;

/// A type as OPA writes it: `array[string]`, `object<a: number>`.
pub(super) fn show(kind: &Type) -> String {
    let text = whole(kind);
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain("…".chars()).collect() }
}

pub(super) fn show_all(kinds: &[Type]) -> String {
    format!("({})", kinds.iter().map(show).collect::<Vec<_>>().join(", "))
}

fn whole(kind: &Type) -> String {
    match kind {
        Type::Any => "any".into(),
        Type::Null => "null".into(),
        Type::Bool => "boolean".into(),
        Type::Number => "number".into(),
        Type::String => "string".into(),
        Type::Array(items, more) => {
            let mut text = String::from("array");
            if !items.is_empty() {
                text.push_str(&format!("<{}>", items.iter().map(whole).collect::<Vec<_>>().join(", ")));
            }
            if let Some(more) = more {
                text.push_str(&format!("[{}]", whole(more)));
            }
            text
        }
        Type::Set(element) => format!("set[{}]", whole(element)),
        Type::Object(members, more) => {
            let mut text = String::from("object");
            if !members.is_empty() {
                let members: Vec<String> =
                    members.iter().map(|(key, kind)| format!("{key}: {}", whole(kind))).collect();
                text.push_str(&format!("<{}>", members.join(", ")));
            }
            if let Some(more) = more {
                text.push_str(&format!("[{}: {}]", whole(&more.0), whole(&more.1)));
            }
            text
        }
        Type::Union(kinds) => format!("any<{}>", kinds.iter().map(whole).collect::<Vec<_>>().join(", ")),
    }
}
