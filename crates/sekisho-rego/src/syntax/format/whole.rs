//! The layout of a whole module.

use super::super::ast::{Import, Module, Rule};
use super::writer::Writer;

/// A statement after the package.
enum Statement<'a> {
    Import(&'a Import),
    Rules(&'a [Rule], usize),
}

/// The text of a module; the rules of the indexes in `kept` as they are.
pub(super) fn whole(module: &Module, kept: &[usize]) -> String {
    let mut writer = Writer::new(module);
    writer.package();
    let statements = statements(module);
    let mut rest = statements.as_slice();
    while let Some(first) = rest.first() {
        let is_import = |statement: &Statement<'_>| matches!(statement, Statement::Import(_));
        let alike = rest.iter().take_while(|statement| is_import(statement) == is_import(first)).count();
        let (group, after) = rest.split_at_checked(alike).unwrap_or((rest, &[]));
        let imports: Vec<&Import> = group
            .iter()
            .filter_map(|statement| match statement {
                Statement::Import(import) => Some(*import),
                Statement::Rules(..) => None,
            })
            .collect();
        writer.imports(&imports);
        for (at, statement) in group.iter().enumerate() {
            if let Statement::Rules(rules, index) = statement {
                let next = match group.get(at + 1) {
                    Some(Statement::Rules(next, _)) => next.first(),
                    _ => None,
                };
                writer.rule_group(rules, kept.contains(index), next);
            }
        }
        rest = after;
    }
    writer.finish()
}

/// Imports and rules in the order of the text; a rule stands with the bodies chained to it.
fn statements(module: &Module) -> Vec<Statement<'_>> {
    let mut found: Vec<(u32, Statement<'_>)> =
        module.imports.iter().map(|import| (import.span.start, Statement::Import(import))).collect();
    let mut at = 0;
    while let Some(rule) = module.rules.get(at) {
        let rest = module.rules.get(at + 1..).unwrap_or_default();
        let chained = rest.iter().take_while(|rule| rule.chained).count();
        let group = module.rules.get(at..=at + chained).unwrap_or_default();
        found.push((rule.span.start, Statement::Rules(group, at)));
        at += 1 + chained;
    }
    found.sort_by_key(|(start, _)| *start);
    found.into_iter().map(|(_, statement)| statement).collect()
}
