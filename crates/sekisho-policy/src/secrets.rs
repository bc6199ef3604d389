//! What is printed about a live request hides what its record hides.

use sekisho_rego::value::Value;

use crate::mask::{MASK, is_sensitive};

/// The shortest part of a hidden value that is hidden by itself: shorter ones stand in too many other texts.
const SHORTEST: usize = 4;

/// The values of an input that records hide, and the parts that a policy may take them into.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// In lower case, the longest first.
    texts: Vec<String>,
}

impl Secrets {
    /// Those of the input of a decision.
    pub fn of(input: &Value) -> Self {
        let mut texts = Vec::new();
        let headers = input.get(&Value::from("headers")).and_then(Value::as_object);
        for (name, value) in headers.into_iter().flat_map(|headers| headers.iter()) {
            if let (Some(name), Some(value)) = (name.as_str(), value.as_str())
                && is_sensitive(&name.to_lowercase())
            {
                add(value, &mut texts);
            }
        }
        let query = input.get(&Value::from("query")).and_then(Value::as_str).unwrap_or_default();
        for parameter in query.split('&') {
            add(parameter.split_once('=').map_or(parameter, |(_, value)| value), &mut texts);
        }
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        texts.dedup();
        Self { texts }
    }

    /// A text with every hidden value in it masked, in whatever case it stands.
    pub fn hide(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in &self.texts {
            out = masked(&out, secret);
        }
        out
    }
}

/// A value, as JSON writes it, and its parts between signs.
fn add(value: &str, texts: &mut Vec<String>) {
    let lower = value.to_lowercase();
    texts.extend(lower.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() >= SHORTEST).map(str::to_owned));
    if !lower.is_empty() {
        let json = Value::from(lower.as_str()).to_json();
        texts.push(json.trim_matches('"').to_owned());
        texts.push(lower);
    }
}

/// The text with each occurrence of `secret`, which is in lower case, masked.
fn masked(text: &str, secret: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        match prefix_length(rest, secret) {
            Some(length) => {
                out.push_str(MASK);
                rest = rest.get(length..).unwrap_or_default();
            }
            None => {
                let first = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(rest.get(..first).unwrap_or_default());
                rest = rest.get(first..).unwrap_or_default();
            }
        }
    }
    out
}

/// How much of `text` is `secret` in some case, if it begins with it.
fn prefix_length(text: &str, secret: &str) -> Option<usize> {
    let mut wanted = secret.chars();
    let mut length = 0;
    for c in text.chars() {
        if wanted.as_str().is_empty() {
            break;
        }
        for lower in c.to_lowercase() {
            if wanted.next() != Some(lower) {
                return None;
            }
        }
        length += c.len_utf8();
    }
    wanted.as_str().is_empty().then_some(length)
}

#[cfg(test)]
mod tests {
    use sekisho_rego::value::Value;

    use super::Secrets;

    fn secrets() -> Secrets {
        let input =
            r#"{"headers": {"authorization": "Bearer Ab12-Cd\"34", "team": "ops"}, "query": "key=Zz9&flag&n="}"#;
        Secrets::of(&Value::from_json(input).unwrap())
    }

    #[test]
    fn hidden_values_are_masked() {
        for (text, shown) in [
            ("\"Bearer Ab12-Cd\\\"34\"", "\"***\""),
            ("[\"bearer\", \"AB12-CD\"]", "[\"***\", \"***-CD\"]"),
            ("\"zz9\" and \"ops\"", "\"***\" and \"ops\""),
            ("{\"flag\": true}", "{\"***\": true}"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(secrets().hide(text), shown);
        }
    }

    #[test]
    fn an_input_without_secrets_hides_nothing() {
        let input = Value::from_json(r#"{"headers": {"team": "ops"}, "query": ""}"#).unwrap();
        assert_eq!(Secrets::of(&input).hide("ops"), "ops");
    }
}
