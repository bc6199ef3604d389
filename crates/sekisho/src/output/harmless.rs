//! Texts from elsewhere, without what commands a terminal or changes how a line reads.

/// Control characters (C0 and C1), and characters that are not seen and reorder, join or break what is.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

fn escaped(text: &str, harmful: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if harmful(character) { escape(&mut out, character) } else { out.push(character) }
    }
    out
}

fn rust_escape(out: &mut String, character: char) {
    out.extend(character.escape_default());
}

/// One text of a line: harmful characters are escaped, line breaks too.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, is_harmful, rust_escape)
}

/// Several lines, of our own and with texts from elsewhere in them.
pub(super) fn printable_lines(text: &str) -> String {
    escaped(text, |character| is_harmful(character) && !matches!(character, '\n' | '\t'), rust_escape)
}

/// JSON that stays the same value.
pub(crate) fn printable_json(json: &str) -> String {
    // JSON has escaped those below U+0020, and U+007F and beyond are in strings only.
    let harmful = |character: char| is_harmful(character) && character > '\u{1f}';
    escaped(json, harmful, |out, character| out.push_str(&format!("\\u{:04x}", u32::from(character))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded() {
        let foul = "a\u{1b}[2J\u{9b}1m\r\n\u{202e}b\u{200b}é";
        assert_eq!(printable(foul), r"a\u{1b}[2J\u{9b}1m\r\n\u{202e}b\u{200b}é");
        assert_eq!(printable_lines("a\tb\nc\r"), "a\tb\nc\\r");
        let json = serde_json::to_string(foul).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.chars().any(is_harmful), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), foul);
    }
}
