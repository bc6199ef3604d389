//! Modules of version 0 in a form that both versions read alike.

use super::super::ast::{Import, Module, Name, Span, Version};
use super::super::error::{Code, Error};
use super::super::module::parse_module;
use super::super::parser::Options;
use super::shape;
use super::whole::whole;

/// Formats a module of version 0 so that version 1 reads it as well, with the same meaning: bodies get `if`, partial
/// sets `contains`, values `:=`, and `import rego.v1` takes the place of imports of keywords.
///
/// # Errors
/// What is wrong with the text as version 0, or what version 1 refuses of it.
pub fn upgrade(file: &str, text: &str) -> Result<String, Vec<Error>> {
    let options = Options { version: Version::V0, ..Options::default() };
    let mut module = parse_module(file, text, options)?;
    if !module.rego_v1 {
        let place = module.package.span;
        module.imports.retain(|import| import.path.first().is_none_or(|name| &*name.text != "future"));
        module.imports.insert(0, rego_v1(place));
        module.rego_v1 = true;
    }
    let upgraded = whole(&module, &[]);
    for version in [Version::V0, Version::V1] {
        let other = parse_module(file, &upgraded, Options { version, ..Options::default() });
        let other = other.map_err(|errors| at_old_places(&module, errors))?;
        if shape::of(&module) != shape::of(&other) {
            let message = "the module cannot be written so that version 1 reads it alike";
            return Err(vec![Error::new(Code::Parse, &module.source, module.package.span, message)]);
        }
    }
    Ok(upgraded)
}

/// `import rego.v1` below the package.
fn rego_v1(package: Span) -> Import {
    let span = Span { start: package.end, end: package.end, line: package.line, column: package.column };
    let name = |text: &str| Name { span: Span { end: span.start, ..span }, text: text.into() };
    Import { span, path: vec![name("rego"), name("v1")], alias: None }
}

/// Errors of the new text name lines that the author does not have; the line's text shows what is meant.
fn at_old_places(module: &Module, errors: Vec<Error>) -> Vec<Error> {
    let moved = |error: Error| {
        let lines = module.source.text.lines().enumerate();
        let found = lines.filter(|(_, line)| line.trim() == error.line.trim()).map(|(at, _)| at + 1).next();
        match found.and_then(|line| u32::try_from(line).ok()) {
            Some(line) => Error { span: Span { line, ..error.span }, ..error },
            None => error,
        }
    };
    errors.into_iter().map(moved).collect()
}
