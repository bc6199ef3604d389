//! Writes values as JSON and as terms of Rego.

use std::fmt::{self, Write};

use super::kinds::Value;

impl Value {
    /// Compact JSON. A set becomes an array; a key that is not a string becomes its JSON text, as Go's encoder has it.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, false);
        out
    }

    /// Appends compact JSON; `html` escapes `<`, `>` and `&` as Go's encoder does.
    pub fn write_json(&self, out: &mut String, html: bool) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Value::Number(number) => {
                let _infallible = write!(out, "{number}");
            }
            Value::String(text) => write_json_string(text, out, html),
            Value::Array(array) => write_items(array, out, html),
            Value::Set(set) => write_items(set, out, html),
            Value::Object(object) => {
                out.push('{');
                for (at, (key, value)) in object.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    match key {
                        Value::String(text) => write_json_string(text, out, html),
                        _ => {
                            let mut text = String::new();
                            key.write_json(&mut text, true);
                            write_json_string(&text, out, html);
                        }
                    }
                    out.push(':');
                    value.write_json(out, html);
                }
                out.push('}');
            }
        }
    }
}

fn write_items(items: &[Value], out: &mut String, html: bool) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        item.write_json(out, html);
    }
    out.push(']');
}

fn write_json_string(text: &str, out: &mut String, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || matches!(c, '\u{2028}' | '\u{2029}') || (html && matches!(c, '<' | '>' | '&')) => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// As a term of Rego: `{"a": 1}`, `{1, 2}`, `set()`; strings are quoted.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(flag) => fmt::Display::fmt(flag, f),
            Value::Number(number) => fmt::Display::fmt(number, f),
            Value::String(text) => write_quoted(text, f),
            Value::Array(array) => write_list(array, f, '[', ']'),
            Value::Set(set) if set.is_empty() => f.write_str("set()"),
            Value::Set(set) => write_list(set, f, '{', '}'),
            Value::Object(object) => {
                f.write_char('{')?;
                for (at, (key, value)) in object.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{key}: {value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_list(items: &[Value], f: &mut fmt::Formatter<'_>, open: char, close: char) -> fmt::Result {
    f.write_char(open)?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        fmt::Display::fmt(item, f)?;
    }
    f.write_char(close)
}

/// Quotes a text as Go's `strconv.Quote` does.
pub(super) fn write_quoted(text: &str, f: &mut impl Write) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\u{7}' => f.write_str("\\a")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{b}' => f.write_str("\\v")?,
            c if c < ' ' || c == '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c))?,
            c if !is_printable(c) && u32::from(c) > 0xFFFF => write!(f, "\\U{:08x}", u32::from(c))?,
            c if !is_printable(c) => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

fn is_printable(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}
