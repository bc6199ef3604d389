//! Regular expressions in the syntax of RE2 as Go has it, compiled by the `regex` crate.
//!
//! The two differ: Go's `\d`, `\w`, `\s` and `\b` are of ASCII, a lone `{` is a literal, `[` inside a class is a
//! literal, `\Q…\E` quotes, and there are no `&&`, no `(?x)` and no repetition beyond 1,000.

use super::context::{BuiltinError, Context, failure};

/// The largest compiled program in bytes.
const MAX_PROGRAM: usize = 1 << 21;
/// Go's bound of a counted repetition.
const MAX_REPEAT: u32 = 1_000;
/// The deepest nesting of groups.
const MAX_NESTING: u32 = 200;
/// Patterns kept compiled.
pub(super) const MAX_CACHED: usize = 100;

/// Compiles an expression of the `regex` crate's syntax within a bound of size.
pub(super) fn compile(cx: &mut Context, expression: &str) -> Result<regex::Regex, BuiltinError> {
    cx.spend(50_000 + expression.len().saturating_mul(500))?;
    regex::RegexBuilder::new(expression)
        .size_limit(MAX_PROGRAM)
        .dfa_size_limit(MAX_PROGRAM)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| failure(format!("error parsing regexp: {}", first_line(&error))))
}

fn first_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Compiles a pattern of Go's syntax, once in a decision.
pub(super) fn compiled(cx: &mut Context, pattern: &str) -> Result<regex::Regex, BuiltinError> {
    if let Some(found) = cx.caches.regexes.get(pattern) {
        return Ok(found.clone());
    }
    cx.spend(pattern.len().saturating_mul(20))?;
    let regex = compile(cx, &translate(pattern).map_err(failure)?)?;
    if cx.caches.regexes.len() >= MAX_CACHED {
        cx.caches.regexes.clear();
    }
    cx.caches.regexes.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

/// The compiled pattern of `regex.match`; none where that refuses it, or would for some text.
pub(crate) fn regex_pattern(pattern: &str) -> Option<regex::Regex> {
    if pattern.contains("\\B") {
        return None;
    }
    compiled(&mut Context::new(0), pattern).ok()
}

/// What stood before, for Go's rules of repetition.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Item,
    Repeat,
}

/// Translates Go's syntax to that of the `regex` crate.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut reader =
        Translator { rest: pattern, out: String::with_capacity(pattern.len() + 8), before: Before::Nothing };
    while let Some(c) = reader.next() {
        reader.item(c).map_err(|what| format!("error parsing regexp: {what}"))?;
    }
    Ok(reader.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    before: Before,
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn item(&mut self, c: char) -> Result<(), String> {
        match c {
            '*' | '+' | '?' => self.repeat(c.to_string()),
            '{' => match self.counts()? {
                Some(counts) => self.repeat(counts),
                None => {
                    self.out.push_str("\\{");
                    self.before = Before::Item;
                    Ok(())
                }
            },
            '(' => self.group(),
            '|' => {
                self.out.push('|');
                self.before = Before::Nothing;
                Ok(())
            }
            '[' => self.class(),
            '\\' => self.escape(),
            '}' | ']' => {
                self.out.push('\\');
                self.out.push(c);
                self.before = Before::Item;
                Ok(())
            }
            _ => {
                self.out.push(c);
                self.before = Before::Item;
                Ok(())
            }
        }
    }

    fn repeat(&mut self, operator: String) -> Result<(), String> {
        match self.before {
            Before::Nothing => return Err(format!("missing argument to repetition operator: `{operator}`")),
            Before::Repeat => return Err(format!("invalid nested repetition operator: `{operator}`")),
            Before::Item => {}
        }
        self.out.push_str(&operator);
        if self.eat("?") {
            self.out.push('?');
        }
        self.before = Before::Repeat;
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,5}` after its brace; none if the brace is a literal.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let Some((inner, after)) = split_near(self.rest, "}") else {
            return Ok(None);
        };
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(least) || !(digits(most) || most.is_empty() && inner.contains(',')) {
            return Ok(None);
        }
        let size = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let most_size = if most.is_empty() { size(least) } else { size(most) };
        if size(least) > MAX_REPEAT || most_size > MAX_REPEAT || size(least) > most_size {
            return Err(format!("invalid repeat count: `{{{inner}}}`"));
        }
        let counts = format!("{{{inner}}}");
        self.rest = after;
        Ok(Some(counts))
    }

    fn group(&mut self) -> Result<(), String> {
        self.before = Before::Nothing;
        self.out.push('(');
        if !self.eat("?") {
            return Ok(());
        }
        self.out.push('?');
        if self.eat("P<") || self.eat("<") {
            if self.rest.starts_with(['=', '!']) {
                return Err("invalid or unsupported Perl syntax: `(?<`".to_owned());
            }
            self.out.push_str("P<");
            return Ok(());
        }
        loop {
            match self.next() {
                Some(c @ ('i' | 'm' | 's' | 'U' | '-')) => self.out.push(c),
                Some(c @ (':' | ')')) => {
                    self.out.push(c);
                    return Ok(());
                }
                Some(c) => return Err(format!("invalid or unsupported Perl syntax: `(?{c}`")),
                None => return Err("missing closing )".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        self.before = Before::Item;
        if self.eat("Q") {
            let (literal, after) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.out.push_str(&regex::escape(literal));
            self.rest = after;
            return Ok(());
        }
        let Some(c) = self.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match c {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                let not = if c.is_ascii_uppercase() { "^" } else { "" };
                self.out.push_str(&format!("[{not}{}]", perl_class(c)));
            }
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("\\B"),
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
            }
            'C' => return Err("invalid escape sequence: `\\C`".to_owned()),
            'p' | 'P' => self.unicode_class(c),
            _ => {
                let literal = self.escaped_char(c)?;
                self.out.push_str(&format!("\\x{{{:x}}}", u32::from(literal)));
            }
        }
        Ok(())
    }

    fn unicode_class(&mut self, c: char) {
        self.out.push('\\');
        self.out.push(c);
        let inner = self.rest.strip_prefix('{').and_then(|rest| split_near(rest, "}"));
        if let Some((name, after)) = inner {
            // `\p{^Greek}` is the complement.
            let plain = match name.strip_prefix('^') {
                Some(plain) => {
                    self.out.pop();
                    self.out.push(if c == 'p' { 'P' } else { 'p' });
                    plain
                }
                None => name,
            };
            // Go has general categories by their short names, and scripts.
            let kind = match plain.len() {
                _ if plain == "Any" => "",
                0..=2 => "gc=",
                _ => "sc=",
            };
            self.out.push_str(&format!("{{{kind}{plain}}}"));
            self.rest = after;
        }
    }

    /// The character that an escape stands for.
    fn escaped_char(&mut self, c: char) -> Result<char, String> {
        let invalid = || format!("invalid escape sequence: `\\{c}`");
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => {
                let digits = match self.rest.strip_prefix('{').and_then(|rest| split_near(rest, "}")) {
                    Some((digits, after)) => {
                        self.rest = after;
                        digits
                    }
                    None => {
                        let (digits, after) = self.rest.split_at_checked(2).ok_or_else(invalid)?;
                        self.rest = after;
                        digits
                    }
                };
                u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or_else(invalid)
            }
            '0'..='7' => {
                let more = self.rest.bytes().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                if c != '0' && more == 0 {
                    return Err(invalid());
                }
                let (digits, after) = self.rest.split_at_checked(more).ok_or_else(invalid)?;
                self.rest = after;
                u32::from_str_radix(&format!("{c}{digits}"), 8).ok().and_then(char::from_u32).ok_or_else(invalid)
            }
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(invalid()),
        }
    }

    fn class(&mut self) -> Result<(), String> {
        let inner = self.rest;
        self.before = Before::Item;
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(c) = self.next() else {
                return Err(format!("missing closing ]: `[{inner}`"));
            };
            match c {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest.starts_with(':') && split_near(self.rest, ":]").is_some() => self.posix_class(),
                '\\' => self.class_escape()?,
                '-' if first || self.rest.starts_with(']') => self.out.push_str("\\-"),
                '-' if self.rest.starts_with('-') => {
                    self.next();
                    self.out.push_str("-\\-");
                }
                '-' => self.out.push('-'),
                c if c.is_ascii_punctuation() => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                c => self.out.push(c),
            }
            first = false;
        }
    }

    fn posix_class(&mut self) {
        let inner = split_near(self.rest, ":]");
        if let Some((name, after)) = inner {
            self.out.push_str(&format!("[{name}:]"));
            self.rest = after;
        }
    }

    fn class_escape(&mut self) -> Result<(), String> {
        let Some(c) = self.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match c {
            'd' | 'w' | 's' => self.out.push_str(perl_class(c)),
            'D' | 'W' | 'S' => self.out.push_str(&format!("[^{}]", perl_class(c))),
            'p' | 'P' => self.unicode_class(c),
            _ => {
                let literal = self.escaped_char(c)?;
                self.out.push_str(&format!("\\x{{{:x}}}", u32::from(literal)));
            }
        }
        Ok(())
    }
}

/// Splits at a mark that is at most 40 bytes away.
fn split_near<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let near = (0..=40.min(text.len())).rev().find_map(|end| text.get(..end))?;
    let at = near.find(mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

fn perl_class(c: char) -> &'static str {
    match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => "\\t\\n\\f\\r ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        regex::Regex::new(&translate(pattern).expect("pattern")).expect("regex").is_match(text)
    }

    #[test]
    fn classes_are_of_ascii() {
        assert!(!is_match(r"^\d$", "٣"));
        assert!(is_match(r"^[\D]$", "٣"));
        assert!(is_match(r"^[[\]&&^-]+$", "[]&^-"));
        assert!(is_match(r"^[^[:alpha:]\s]$", "1"));
    }

    #[test]
    fn go_refuses_what_rust_takes() {
        for pattern in ["a**", "*a", "(?x)a", "a{1001}", r"\1", "(?<=a)", r"\y", "[a", "a{2,1}"] {
            assert!(
                translate(pattern).and_then(|p| regex::Regex::new(&p).map_err(|e| e.to_string())).is_err(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn braces_and_quotes_are_literals() {
        assert!(is_match(r"^a{b}$", "a{b}"));
        assert!(is_match(r"^\Qa.b\E+$", "a.bb"));
        assert!(is_match(r"^\x41\101\x{263a}$", "AA\u{263a}"));
    }
}
