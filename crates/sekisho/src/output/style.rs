//! Colour, where a person looks at a terminal that has it (<https://no-color.org>).

use std::io::IsTerminal;

use super::harmless::printable;

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// A text for stdout with its marks in colour.
pub(crate) fn painted(text: &str) -> String {
    if has_colour(&std::io::stdout()) { paint(text) } else { text.to_owned() }
}

/// A text for stderr that is easily overlooked: red, where that is a terminal.
pub(crate) fn alert(text: &str) -> String {
    alert_text(text, has_colour(&std::io::stderr()))
}

fn has_colour(stream: &impl IsTerminal) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !plain && !dumb
}

/// Marks are green and red, and titles of columns bold.
fn paint(text: &str) -> String {
    let line = |line: &str| {
        let is_title = line.trim_start().starts_with(|c: char| c.is_ascii_uppercase())
            && line.chars().all(|c| c.is_ascii_uppercase() || matches!(c, ' ' | '(' | ')' | '/' | '.' | '0'..='9'));
        if is_title {
            return format!("{BOLD}{line}{PLAIN}");
        }
        line.replace('√', &format!("{GREEN}√{PLAIN}")).replace('×', &format!("{RED}×{PLAIN}"))
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn alert_text(text: &str, red: bool) -> String {
    // A file's name in it may hold sequences for the terminal.
    let text = printable(text);
    if red { format!("{RED}{text}{PLAIN}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_red_on_a_terminal() {
        assert_eq!(alert_text("a\u{1b}[2Jb\n", true), "\u{1b}[31ma\\u{1b}[2Jb\\n\u{1b}[0m");
        assert_eq!(alert_text("a", false), "a");
    }

    #[test]
    fn marks_have_colours_and_titles_are_bold() {
        assert_eq!(
            paint(" ID  AGE\n√ a\n× B"),
            "\u{1b}[1m ID  AGE\u{1b}[0m\n\u{1b}[32m√\u{1b}[0m a\n\u{1b}[31m×\u{1b}[0m B"
        );
    }
}
