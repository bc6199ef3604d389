//! Comments and string literals of Rust text, and the lines that they begin on. Names are in `names.rs`.

use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Comment,
    Text,
}

/// The comments and string literals, line by line: number of the line, kind, text.
pub(crate) fn pieces(source: &str) -> Vec<(usize, Piece, String)> {
    let mut out = Vec::new();
    let mut chars = source.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let rest = source.get(at..).unwrap_or_default();
        let kind = if rest.starts_with("//") || rest.starts_with("/*") { Piece::Comment } else { Piece::Text };
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest),
            'r' if !is_name(before) || before == 'b' || before == 'c' => raw(rest).unwrap_or(0),
            '\'' => {
                skip(&mut chars, at + character(rest));
                0
            }
            _ => 0,
        };
        if length > 0 {
            let first = source.get(..at).unwrap_or_default().matches('\n').count() + 1;
            let text = rest.get(..length).unwrap_or_default();
            for (number, line) in text.lines().enumerate() {
                let kind = if kind == Piece::Comment { Piece::Comment } else { Piece::Text };
                out.push((first + number, kind, line.to_owned()));
            }
            skip(&mut chars, at + length);
        }
        before = c;
    }
    out
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn skip(chars: &mut Peekable<CharIndices<'_>>, end: usize) {
    while chars.next_if(|(at, _)| *at < end).is_some() {}
}

/// The length of a string literal with its quotes.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string literal that begins with `r`.
fn raw(rest: &str) -> Option<usize> {
    let hashes = rest.chars().skip(1).take_while(|c| *c == '#').count();
    let body = rest.get(1 + hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&close)? + close.len())
}

/// The length of a character literal; 1 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

/// The first line of the module of unit tests, or the number behind the last line.
pub(crate) fn first_test_line(source: &str) -> usize {
    let mut lines = source.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let next = lines.peek().map_or("", |(_, next)| next.trim());
        if line.trim() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            return number + 1;
        }
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_found() {
        let source = "fn f<'a>(x: &'a str) { // one\n let y = \"two // no\"; let c = '\"'; r#\"three \"q\" x\"#; }\n\
                      /* four\nfive */ '\\'' \"\\\"six\"";
        let texts: Vec<(usize, Piece, String)> = pieces(source);
        let shown: Vec<String> = texts.iter().map(|(line, kind, text)| format!("{line} {kind:?} {text}")).collect();
        let wanted = [
            "1 Comment // one",
            "2 Text \"two // no\"",
            "2 Text r#\"three \"q\" x\"#",
            "3 Comment /* four",
            "4 Comment five */",
            "4 Text \"\\\"six\"",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn unit_tests_begin_at_their_module() {
        assert_eq!(first_test_line("a\n#[cfg(test)]\nuse x;\n#[cfg(test)]\nmod tests {\n"), 4);
        assert_eq!(first_test_line("a\n#[cfg(test)]\nmod tests;\n"), usize::MAX);
    }
}
