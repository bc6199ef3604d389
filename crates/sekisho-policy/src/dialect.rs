//! The version of Rego of a file: it follows from its words, before anything parses it.
//!
//! Read as v0, `allow if { … }` is an unconditional `allow` and a rule named `if`. So a file counts as v0 only when
//! nothing in it could be v1; a file that has forms of both is refused with a line of each.

use sekisho_rego::syntax::ast::{HeadKind, Module, Version};
use sekisho_rego::syntax::error::Error;
use sekisho_rego::syntax::{Options, Scanned, Word, WordKind};

use crate::refs::head_name;
use crate::source::{PolicyError, Source};

/// The version of Rego that a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V0,
    V1,
}

impl Dialect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0 => "v0",
            Self::V1 => "v1",
        }
    }

    /// How a file of this version is read.
    pub fn options(self) -> Options {
        let version = match self {
            Self::V0 => Version::V0,
            Self::V1 => Version::V1,
        };
        // OPA's older `not` fails where a part of the expression is undefined, and so lets a forbidding rule fail; the
        // one of `import future.keywords.not` and `rego.v2` holds there.
        Options { version, whole_negation: true, ..Options::default() }
    }
}

/// Reads a file in the version that it is written in; what fails in that version is not tried in the other. Two forms
/// that no version has together are an error with both lines.
pub fn read(source: &Source) -> Result<(Dialect, Module), PolicyError> {
    let refused = |errors: Vec<Error>| PolicyError::of(&errors);
    let text = Scanned::new(&source.name, &source.text).map_err(refused)?;
    let (Some((old_line, old_form)), file) = (old_form(text.words()), &source.name) else {
        return Ok((Dialect::V1, text.parse(Dialect::V1.options()).map_err(refused)?));
    };
    let mixed = |line: u32, form: &str| PolicyError::Mixed {
        file: file.clone(),
        line,
        form: form.to_owned(),
        old_line,
        old_form: old_form.to_owned(),
    };
    if let Some((line, form)) = modern_form(text.words()) {
        return Err(mixed(line, form));
    }
    let module = text.parse(Dialect::V0.options()).map_err(refused)?;
    match bare_rule(&module) {
        Some(line) => Err(mixed(line, "a rule without a body, which always holds")),
        None => Ok((Dialect::V0, module)),
    }
}

fn is(word: Word<'_>, sign: &str) -> bool {
    word.kind == WordKind::Sign && word.text == sign
}

fn is_name(word: Word<'_>, name: &str) -> bool {
    word.kind == WordKind::Name && word.text == name
}

fn depth_after(word: Word<'_>, depth: usize) -> usize {
    let opens = word.kind == WordKind::Sign && matches!(word.text, "{" | "[" | "(");
    if opens { depth + 1 } else { depth.saturating_sub(usize::from(closes(word))) }
}

fn closes(word: Word<'_>) -> bool {
    word.kind == WordKind::Sign && matches!(word.text, "}" | "]" | ")")
}

/// Whether an expression continues behind it.
fn continues(word: Word<'_>) -> bool {
    match word.kind {
        WordKind::Sign => !closes(word),
        WordKind::Name => {
            matches!(word.text, "in" | "contains" | "not" | "some" | "every" | "as" | "with" | "if" | "else")
        }
        _ => false,
    }
}

/// The first line that only v1 has, or that v0 reads as something else.
fn modern_form<'a>(words: impl Iterator<Item = Word<'a>>) -> Option<(u32, &'static str)> {
    let (mut depth, mut before): (usize, Option<Word<'_>>) = (0, None);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let field = before.is_some_and(|before| is(before, "."));
        // The builtin `contains` is called in the place of a value; at the beginning of a statement it is a rule of
        // that name.
        let called = words.peek().is_some_and(|next| is(*next, "("));
        let value = depth > 0 || before.is_some_and(|before| before.line == word.line && continues(before));
        let form = match word.text {
            _ if word.kind != WordKind::Name || field => None,
            "if" => Some("`if`"),
            "in" => Some("`in`"),
            "every" => Some("`every`"),
            "contains" if !called || !value => Some("`contains`"),
            "rego" | "future" if before.is_some_and(|before| is_name(before, "import")) => {
                Some("an import of keywords")
            }
            _ => None,
        };
        if let Some(form) = form {
            return Some((word.line, form));
        }
        depth = depth_after(word, depth);
        before = Some(word);
    }
    None
}

/// The first line with a body that has no `if`, which only v0 has.
fn old_form<'a>(words: impl Iterator<Item = Word<'a>>) -> Option<(u32, &'static str)> {
    let (mut depth, mut every) = (0usize, false);
    let mut before: Option<Word<'_>> = None;
    for word in words {
        every |= depth == 0 && is_name(word, "every");
        if is(word, "{") && depth == 0 {
            match before {
                Some(before) if is_name(before, "else") => return Some((word.line, "an `else` without `if`")),
                Some(before) if continues(before) => {}
                Some(_) if every => every = false,
                _ => return Some((word.line, "a body without `if`")),
            }
        }
        depth = depth_after(word, depth);
        before = Some(word);
    }
    None
}

/// The first rule of a v0 file that holds on any input, though it may only look so: a word alone, or an `allow` without
/// a body.
fn bare_rule(module: &Module) -> Option<u32> {
    let bare = module.rules.iter().filter(|rule| !rule.default && rule.body.is_none() && rule.otherwise.is_empty());
    let mut unconditional = bare.filter(|rule| match &rule.head.kind {
        HeadKind::Value(value) => value.is_none() || head_name(&rule.head) == Some("allow"),
        HeadKind::Function { value, .. } => value.is_none(),
        HeadKind::Set { .. } => false,
    });
    unconditional.next().map(|rule| rule.span.line)
}

#[cfg(test)]
mod tests;
