//! YAML to values and back, in the layout of Go's `yaml.v3` at two spaces.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::context::{BuiltinError, Context, failure};
use crate::value::{Number, Object, Value};

/// Brackets that may be open at once.
const MAX_NESTING: usize = 1_000;

/// Reads the first document; the others must be valid too.
pub(super) fn read(cx: &mut Context, text: &str) -> Result<Value, BuiltinError> {
    let nesting = nesting(text);
    if nesting > MAX_NESTING {
        return Err(failure("yaml: nested too deeply"));
    }
    // The scanner looks at each open bracket for each token.
    cx.spend(text.len().saturating_mul(16 + nesting / 4))?;
    // An alias repeats its anchor: the nodes are counted, not the text.
    let nodes = Cell::new(usize::try_from(cx.work_left() / 64).unwrap_or(usize::MAX));
    let error = |error: serde_yaml_ng::Error| {
        let text = error.to_string();
        let what = text.split_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        match error.location().map(|location| location.line().saturating_sub(1)) {
            Some(line @ 1..) => failure(format!("yaml: line {line}: {what}")),
            _ => failure(format!("yaml: {what}")),
        }
    };
    let mut documents = serde_yaml_ng::Deserializer::from_str(text);
    let value = match documents.next() {
        Some(document) => Node(&nodes).deserialize(document).map_err(error)?,
        None => Value::Null,
    };
    for document in documents {
        IgnoredAny::deserialize(document).map_err(error)?;
    }
    cx.spend_value(&value)?;
    Ok(value)
}

/// The most brackets that are open at once, quoted ones counted too.
fn nesting(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Reads a value while there is a budget of nodes.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Cell<usize>);

impl Node<'_> {
    fn spend<E: Error>(self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| E::custom("the document has too many nodes"))?;
        self.0.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::from(flag))
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<Value, E> {
        Ok(Value::from(integer))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<Value, E> {
        Ok(Value::from(Number::from_bigint(integer.into())))
    }

    fn visit_i128<E: Error>(self, integer: i128) -> Result<Value, E> {
        Ok(Value::from(Number::from_bigint(integer.into())))
    }

    fn visit_u128<E: Error>(self, integer: u128) -> Result<Value, E> {
        Ok(Value::from(Number::from_bigint(integer.into())))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Value, E> {
        Number::from_f64(float).map(Value::from).ok_or_else(|| E::custom("a number that JSON cannot hold"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::from(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (mut members, mut merged) = (Vec::new(), Vec::new());
        while let Some((key, value)) = map.next_entry_seed(self, self)? {
            let key = match key {
                Value::String(_) => key,
                Value::Number(_) | Value::Bool(_) | Value::Null => Value::from(key.to_string()),
                _ => return Err(A::Error::custom("a key that JSON cannot hold")),
            };
            if key.as_str() == Some("<<") { merged.push(value) } else { members.push((key, value)) }
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some([(key, _), _]) = members.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(A::Error::custom(format!("mapping key {key} is defined twice")));
        }
        // The first source of a key wins, and the map itself over all sources.
        let mut layers = Vec::new();
        for value in merged {
            match value {
                Value::Object(source) => layers.push(source),
                Value::Array(all) => {
                    for one in all.iter() {
                        let source = one.as_object().ok_or_else(|| A::Error::custom("map merge requires a map"))?;
                        layers.push(source.clone());
                    }
                }
                _ => return Err(A::Error::custom("map merge requires a map")),
            }
        }
        let mut whole: Vec<(Value, Value)> = Vec::new();
        for layer in layers.into_iter().rev() {
            whole.extend(layer.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        whole.extend(members);
        Ok(Value::from(Object::from_vec(whole)))
    }
}

/// Writes a value whose keys are strings and which holds no sets.
pub(super) fn write(cx: &mut Context, value: &Value) -> Result<String, BuiltinError> {
    let mut writer = Writer { cx, out: String::new() };
    match value {
        Value::Object(object) if !object.is_empty() => writer.mapping(object, 0)?,
        Value::Array(items) if !items.is_empty() => writer.sequence(items, 0)?,
        scalar => writer.scalar(scalar, 0)?,
    }
    Ok(writer.out)
}

struct Writer<'a> {
    cx: &'a mut Context,
    out: String,
}

impl Writer<'_> {
    fn indent(&mut self, columns: usize) -> Result<(), BuiltinError> {
        self.cx.spend(columns)?;
        self.out.push_str(&" ".repeat(columns));
        Ok(())
    }

    fn mapping(&mut self, object: &Object, columns: usize) -> Result<(), BuiltinError> {
        for (at, (key, value)) in object.iter().enumerate() {
            if at > 0 {
                self.indent(columns)?;
            }
            self.out.push_str(&scalar_text(key.as_str().unwrap_or_default()));
            self.out.push(':');
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    self.out.push('\n');
                    self.indent(columns + 2)?;
                    self.mapping(inner, columns + 2)?;
                }
                Value::Array(items) if !items.is_empty() => {
                    self.out.push('\n');
                    self.indent(columns + 2)?;
                    self.sequence(items, columns + 2)?;
                }
                scalar => {
                    self.out.push(' ');
                    self.scalar(scalar, columns + 2)?;
                }
            }
        }
        Ok(())
    }

    fn sequence(&mut self, items: &[Value], columns: usize) -> Result<(), BuiltinError> {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.indent(columns)?;
            }
            self.out.push_str("- ");
            match item {
                Value::Object(inner) if !inner.is_empty() => self.mapping(inner, columns + 2)?,
                Value::Array(inner) if !inner.is_empty() => self.sequence(inner, columns + 2)?,
                scalar => self.scalar(scalar, columns + 2)?,
            }
        }
        Ok(())
    }

    fn scalar(&mut self, value: &Value, columns: usize) -> Result<(), BuiltinError> {
        match value {
            Value::String(text) if text.contains('\n') && is_block(text) => {
                self.out.push('|');
                if text.starts_with([' ', '\n']) {
                    self.out.push('2');
                }
                let body = text.strip_suffix('\n');
                match body {
                    None => self.out.push('-'),
                    Some(rest) if rest.ends_with('\n') || rest.is_empty() => self.out.push('+'),
                    Some(_) => {}
                }
                for line in body.unwrap_or(text).split('\n') {
                    self.out.push('\n');
                    if !line.is_empty() {
                        self.indent(columns.max(2))?;
                        self.out.push_str(line);
                    }
                }
            }
            Value::String(text) => self.out.push_str(&scalar_text(text)),
            other => self.out.push_str(&other.to_json()),
        }
        self.out.push('\n');
        Ok(())
    }
}

/// Can a text stand as a literal block?
fn is_block(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control() && c != '\u{feff}') && !text.contains(" \n")
}

/// A text with the escapes of YAML.
fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let short = match c {
            '"' | '\\' => c,
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            _ if c.is_control() && c != '\u{85}' => {
                quoted.push_str(&format!("\\x{:02X}", u32::from(c)));
                continue;
            }
            '\u{feff}' => {
                quoted.push_str("\\uFEFF");
                continue;
            }
            _ => {
                quoted.push(c);
                continue;
            }
        };
        quoted.push('\\');
        quoted.push(short);
    }
    quoted.push('"');
    quoted
}

/// A text on one line, quoted where it would be read as something else.
fn scalar_text(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || c == '\u{feff}') {
        return double_quoted(text);
    }
    if resolves(text) {
        return Value::from(text).to_json();
    }
    let first_is_special = text
        .starts_with(['-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`']);
    let word = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let lone_mark = text.starts_with(['-', '?', ':']) && word(text.chars().nth(1));
    let special = first_is_special && !lone_mark
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.ends_with(':')
        || text.contains(": ")
        || text.contains(" #");
    if special { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

/// Would a plain text be read as null, a boolean, a number or a time?
fn resolves(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", "-.inf", "+.inf", ".nan", "<<",
        "=",
    ];
    if words.contains(&lower.as_str()) {
        return true;
    }
    let unsigned = lower.trim_start_matches(['-', '+']).replace('_', "");
    let radix = ["0x", "0o", "0b"].iter().any(|prefix| {
        unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    let starts_like_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let number = starts_like_number && unsigned.parse::<f64>().is_ok();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let sexagesimal = unsigned.contains(':') && unsigned.split([':', '.']).all(digits);
    let mut date = text.splitn(3, '-');
    let time = match (date.next(), date.next(), date.next()) {
        (Some(y), Some(m), Some(d)) => {
            y.len() == 4 && digits(y) && digits(m) && d.starts_with(|c: char| c.is_ascii_digit())
        }
        _ => false,
    };
    radix || number || sexagesimal || time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> String {
        write(&mut Context::new(0), &Value::from_json(json).expect("json")).expect("yaml")
    }

    #[test]
    fn control_characters_have_the_escapes_of_yaml() {
        assert_eq!(written(r#""\u0000\u0007\u001b a\"\\\n\u0001 é""#), "\"\\0\\a\\e a\\\"\\\\\\n\\x01 é\"\n");
    }

    #[test]
    fn layout_is_that_of_go() {
        assert_eq!(
            written(r#"[{"foo": [1, 2], "bar": {"x": null}, "e": []}]"#),
            "- bar:\n    x: null\n  e: []\n  foo:\n    - 1\n    - 2\n"
        );
        assert_eq!(
            written(r#"{"a": "true", "b": "x: y", "c": "l1\nl2\n", "d": "12"}"#),
            "a: \"true\"\nb: 'x: y'\nc: |\n  l1\n  l2\nd: \"12\"\n"
        );
    }

    #[test]
    fn documents_are_read_whole() {
        let read = |text| read(&mut Context::new(0), text);
        assert_eq!(
            read("a: &x {b: yes}\nc:\n  <<: *x\n  d: 1\n").expect("yaml").to_json(),
            r#"{"a":{"b":"yes"},"c":{"b":"yes","d":1}}"#
        );
        assert!(read("a: 1\na: 2\n").is_err());
        assert!(read("a: 1\n---\n\tb: 2\n").is_err());
        assert!(read("[1,2").is_err());
    }
}
