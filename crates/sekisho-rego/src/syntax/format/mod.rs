//! One layout for all modules: tabs, one expression a line, collections as they are broken into lines, imports sorted.
//!
//! The formatted text has the same syntax tree and the same comments; a rule with a comment at a place where the layout
//! has no space for one is left as it is.

mod imports;
mod logic;
mod rules;
mod shape;
mod terms;
#[cfg(test)]
mod tests;
mod upgrade;
mod whole;
mod writer;

pub use upgrade::upgrade;

use super::ast::{Comment, Module, Rule};
use super::error::Error;
use super::module::parse_module;
use super::parser::Options;
use whole::whole;
use writer::Writer;

/// The most rules that are looked at one by one.
const MOST_RULES: usize = 1000;

/// Formats a module.
///
/// # Errors
/// What is wrong with the text.
pub fn format(file: &str, text: &str, options: Options) -> Result<String, Vec<Error>> {
    let options = Options { annotations: false, ..options };
    let module = parse_module(file, text, options)?;
    let formatted = whole(&module, &[]);
    if same(file, &module, &formatted, options) {
        return Ok(formatted);
    }
    // A rule that the layout would change is left as it is.
    let few = module.rules.len() <= MOST_RULES;
    let kept: Vec<usize> =
        (0..module.rules.len()).filter(|index| !few || !stays(file, &module, *index, options)).collect();
    for kept in [kept, (0..module.rules.len()).collect()] {
        let formatted = whole(&module, &kept);
        if same(file, &module, &formatted, options) {
            return Ok(formatted);
        }
    }
    Ok(text.to_owned())
}

/// Whether the layout keeps a rule's tree. A rule and the bodies chained to it are looked at as one.
fn stays(file: &str, module: &Module, index: usize, options: Options) -> bool {
    let rest = module.rules.get(index..).unwrap_or_default();
    let length = 1 + rest.iter().skip(1).take_while(|rule| rule.chained).count();
    let Some(group) = rest.get(..length) else { return false };
    let mut writer = Writer::new(module);
    writer.skip_comments_to(group.first().map_or(0, |rule| rule.span.line.saturating_sub(1)));
    writer.rule_group(group, false, None);
    let text = format!("package p\n{}\n{}", imports_text(module), writer.text());
    let Ok(other) = parse_module(file, &text, options) else { return false };
    let shapes = |rules: &[Rule]| rules.iter().map(shape::rule).collect::<Vec<_>>();
    shapes(group) == shapes(&other.rules)
}

/// The imports of a module as they are.
fn imports_text(module: &Module) -> String {
    let texts = module.imports.iter().map(|import| import.span.text(&module.source.text));
    texts.collect::<Vec<_>>().join("\n")
}

/// Whether a text is the same module: its tree without places, and its comments.
fn same(file: &str, module: &Module, formatted: &str, options: Options) -> bool {
    let Ok(other) = parse_module(file, formatted, options) else { return false };
    let texts = |comments: &[Comment]| {
        let mut texts: Vec<String> = comments.iter().map(|comment| comment.text.trim_end().to_owned()).collect();
        texts.sort_unstable();
        texts
    };
    shape::of(module) == shape::of(&other) && texts(&module.comments) == texts(&other.comments)
}
