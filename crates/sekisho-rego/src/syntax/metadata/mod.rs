//! Metadata blocks: comments that start with `# METADATA` and go on as YAML.

mod chain;
mod fields;

#[cfg(test)]
mod tests;

pub use chain::Chains;

use super::ast::{Annotation, Comment, Module, Scope, Span, Target};
use super::error::{Code, Error};
use fields::Fields;

/// Finds the metadata blocks of a module and what they stand on.
pub(crate) fn attach(module: &Module) -> (Vec<Annotation>, Vec<Error>) {
    let statements = statements(module);
    let (mut annotations, mut errors) = (Vec::new(), Vec::new());
    for block in blocks(&module.comments) {
        let span =
            block.first().map_or(Span::default(), |first| block.last().map_or(first.span, |l| first.span.to(l.span)));
        let place = block.first().map_or(span, |comment| comment.span);
        let built = Fields::read(&yaml_of(block)).and_then(|fields| annotation(fields, span, &statements));
        match built {
            Ok(annotation) => annotations.push(annotation),
            Err(message) => errors.push(Error::new(Code::Parse, &module.source, place, message)),
        }
    }
    (annotations, errors)
}

/// A statement a block can stand on.
enum Statement {
    Import,
    Other(Target),
}

/// The statements with their lines, in order.
fn statements(module: &Module) -> Vec<(u32, Statement)> {
    let mut found = vec![(module.package.span.line, Statement::Other(Target::Package))];
    found.extend(module.imports.iter().map(|import| (import.span.line, Statement::Import)));
    let rules = module.rules.iter().enumerate();
    found.extend(rules.map(|(index, rule)| (rule.span.line, Statement::Other(Target::Rule(index)))));
    found.sort_by_key(|(line, _)| *line);
    found
}

fn is_start(comment: &Comment) -> bool {
    comment.span.column == 1 && comment.text.trim().starts_with("METADATA")
}

/// The blocks: each a first comment and those directly below it.
fn blocks(comments: &[Comment]) -> Vec<&[Comment]> {
    let mut found = Vec::new();
    let mut rest = comments;
    while let Some(start) = rest.iter().position(is_start) {
        rest = rest.get(start..).unwrap_or_default();
        let follow = |(before, comment): (&Comment, &Comment)| {
            comment.span.column == 1 && comment.span.line == before.span.line + 1 && !is_start(comment)
        };
        let length = 1 + rest.iter().zip(rest.iter().skip(1)).take_while(|pair| follow(*pair)).count();
        let (block, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        found.push(block);
        rest = after;
    }
    found
}

fn yaml_of(block: &[Comment]) -> String {
    let mut yaml = String::new();
    for comment in block.iter().skip(1) {
        yaml.push_str(comment.text.strip_prefix(' ').unwrap_or(&comment.text));
        yaml.push('\n');
    }
    yaml
}

fn annotation(fields: Fields, span: Span, statements: &[(u32, Statement)]) -> Result<Annotation, String> {
    let below = statements.partition_point(|(line, _)| *line <= span.line);
    let statement = statements.get(below).map(|(_, statement)| statement);
    let have = match statement {
        None => "",
        Some(Statement::Import) => " (have import)",
        Some(Statement::Other(Target::Package)) => " (have package)",
        Some(Statement::Other(Target::Rule(_))) => " (have rule)",
    };
    let name = match (fields.scope.as_str(), statement) {
        ("", Some(Statement::Other(Target::Rule(_)))) if fields.entrypoint => "document",
        ("", Some(Statement::Other(Target::Rule(_)))) => "rule",
        ("", Some(Statement::Other(Target::Package))) => "package",
        ("", Some(Statement::Import)) => "import",
        (scope, _) => scope,
    }
    .to_owned();
    let scope = match name.as_str() {
        "rule" => Scope::Rule,
        "document" => Scope::Document,
        "package" => Scope::Package,
        "subpackages" => Scope::Subpackages,
        _ => {
            return Err(format!(
                "invalid annotation scope '{name}'. Use one of 'rule', 'document', 'package', or 'subpackages'"
            ));
        }
    };
    let wants_rule = matches!(scope, Scope::Rule | Scope::Document);
    let target = match statement {
        Some(Statement::Other(target @ Target::Rule(_))) if wants_rule => *target,
        Some(Statement::Other(Target::Package)) if !wants_rule => Target::Package,
        _ => {
            let want = if wants_rule { "rule" } else { "package" };
            return Err(format!("annotation scope '{name}' must be applied to {want}{have}"));
        }
    };
    if fields.entrypoint && !matches!(scope, Scope::Document | Scope::Package) {
        return Err(format!("annotation entrypoint applied to non-document or package scope '{name}'"));
    }
    Ok(Annotation { span, scope, entrypoint: fields.entrypoint, target, value: fields.value(&name) })
}
