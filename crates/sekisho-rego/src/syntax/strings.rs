//! The values of string literals.

use std::borrow::Cow;

/// The value of the text between the quotes of a string or of a part of a template; absent if an escape is illegal.
pub(crate) fn unescape(text: &str, template: bool) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                '"' => value.push('"'),
                '\\' => value.push('\\'),
                '/' => value.push('/'),
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                '{' if template => value.push('{'),
                'u' => value.push(code_point(&mut chars)?),
                _ => return None,
            },
            c if c < ' ' => return None,
            c => value.push(c),
        }
    }
    Some(Cow::Owned(value))
}

fn unit(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)?;
    }
    Some(unit)
}

/// The character of `\u` and, for a surrogate, of the `\u` after it. A lone surrogate is U+FFFD, as in OPA.
fn code_point(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let first = unit(chars)?;
    if (0xd800..0xdc00).contains(&first) {
        let mut ahead = chars.clone();
        if ahead.next() == Some('\\') && ahead.next() == Some('u') {
            let second = unit(&mut ahead)?;
            if (0xdc00..0xe000).contains(&second) {
                *chars = ahead;
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
        }
        return Some('\u{fffd}');
    }
    Some(char::from_u32(first).unwrap_or('\u{fffd}'))
}

/// The value of the text of a part of a raw template: only `\{` is an escape.
pub(crate) fn unescape_raw_template(text: &str) -> String {
    text.replace("\\{", "{")
}
