//! What cannot be compiled: names, calls, safety, recursion, conflicts between rules.

mod build;
mod captured;
mod conflicts;
mod constants;
mod declared;
mod flat;
mod functions;
mod globals;
mod imports;
mod modifiers;
#[cfg(test)]
mod opa_cases;
mod recursion;
mod report;
mod safety;
#[cfg(test)]
mod schema_tests;
mod scope;
mod tree;
mod types;
mod unify;
mod vars;
mod visit;

pub use types::Schemas;

use flat::{Callee, FlatKind, FlatRule, Step, StepKind, Variables, Vars};
use functions::Functions;
use tree::Tree;

use crate::syntax::ast::{Body, Import, Module, Source, Version};
use crate::syntax::error::Error;
use crate::syntax::forms::Forms;
use crate::syntax::metadata::Chains;

/// The greatest number of errors that are reported.
const MOST_ERRORS: usize = 100;

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether unused imports, variables and arguments, deprecated functions, and names that hide others are errors in
    /// modules of version 0 as well.
    pub strict: bool,
    /// How many rules may use each other in a row; none where the evaluator's depth is the only bound.
    pub longest_chain: Option<usize>,
    /// Whether types are left to the evaluation: in a residual, a call that always fails is not a mistake.
    pub untyped: bool,
}

/// Checks modules that are to be compiled together.
///
/// # Errors
/// What is wrong with them, in the order of files and lines.
pub fn check(modules: &[Module], options: Options) -> Result<(), Vec<Error>> {
    check_with(modules, options, &Schemas::new())
}

/// The same, with schemas for annotations.
///
/// # Errors
/// What is wrong with the modules, in the order of files and lines.
pub fn check_with(modules: &[Module], options: Options, schemas: &Schemas) -> Result<(), Vec<Error>> {
    check_forms(modules, &Forms::new(modules), options, schemas)
}

/// The same, where it is known which rules are alike.
pub(crate) fn check_forms(
    modules: &[Module],
    forms: &Forms,
    options: Options,
    schemas: &Schemas,
) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    let mut checker = Checker::new(modules, options, schemas, Some(forms));
    checker.run(&mut errors);
    if !errors.is_empty() && checker.left_out {
        // Each rule has its errors, also where one like it has the same.
        errors.clear();
        Checker::new(modules, options, schemas, None).run(&mut errors);
    }
    finish(errors)
}

/// Checks a query against modules that passed [`check`]. `package` and `imports` give it the names of a module.
///
/// # Errors
/// What is wrong with the query.
pub fn check_query(
    modules: &[Module],
    source: &Source,
    body: &Body,
    package: &[std::sync::Arc<str>],
    imports: &[Import],
) -> Result<(), Vec<Error>> {
    let options = Options::default();
    let schemas = &Schemas::new();
    let forms = Forms::new(modules);
    let mut checker = Checker::new(modules, options, schemas, Some(&forms));
    let mut errors = Vec::new();
    checker.flatten(&mut errors);
    let exports = globals::exports(modules);
    let globals = globals::for_query(package, imports, exports.get(package));
    let mut builder = build::Builder::new(source, &globals, &mut checker.variables, false);
    let steps = build::query(&mut builder, body);
    let mut errors = std::mem::take(&mut builder.errors);
    errors.append(&mut builder.unused);
    if errors.is_empty() {
        let functions = Functions::new(&checker.rules);
        let tree = Tree::new(&checker.rules);
        functions.check(source, &steps, false, &mut errors);
        modifiers::check(source, &steps, &tree, &checker.rules, &functions, &mut errors);
        if errors.is_empty() {
            captured::check(&functions, source, &checker.variables, &Vars::new(), &steps, &mut errors);
            let (_, unsafe_steps) = safety::order(&functions, &Vars::new(), &steps);
            report::unsafe_steps(source, &checker.variables, unsafe_steps, "", &mut errors);
        }
    }
    finish(errors)
}

fn finish(mut errors: Vec<Error>) -> Result<(), Vec<Error>> {
    if errors.is_empty() {
        return Ok(());
    }
    errors.sort_by(|a, b| {
        (&a.file, a.span.line, a.span.column, &a.message).cmp(&(&b.file, b.span.line, b.span.column, &b.message))
    });
    errors.dedup_by(|a, b| a.file == b.file && a.span == b.span && a.message == b.message);
    errors.truncate(MOST_ERRORS);
    Err(errors)
}

/// Whether a body asks for metadata.
fn uses_metadata(body: &[Step]) -> bool {
    let mut found = false;
    visit::steps(body, &mut |step| {
        found |= matches!(
            &step.kind,
            StepKind::Call { callee: Callee::Builtin("rego.metadata.chain" | "rego.metadata.rule"), .. }
        );
    });
    found
}

struct Checker<'a> {
    modules: &'a [Module],
    options: Options,
    schemas: &'a Schemas,
    /// Where it is known, one rule of each form is checked.
    forms: Option<&'a Forms>,
    /// Whether rules were left out, since others have their form.
    left_out: bool,
    variables: Variables,
    rules: Vec<FlatRule>,
}

impl<'a> Checker<'a> {
    fn new(modules: &'a [Module], options: Options, schemas: &'a Schemas, forms: Option<&'a Forms>) -> Self {
        let (variables, rules) = (Variables::default(), Vec::new());
        Self { modules, options, schemas, forms, left_out: false, variables, rules }
    }

    /// Whether a module follows the rules of version 1.
    fn is_strict(&self, module: &Module) -> bool {
        self.options.strict || module.rego_v1 || module.version == Version::V1
    }

    /// Whether no rule before it has its form.
    fn is_checked(&self, module: usize, rule: usize) -> bool {
        self.forms.is_none_or(|forms| forms.first(module, rule) == rule)
    }

    fn run(&mut self, errors: &mut Vec<Error>) {
        let mut recoverable = Vec::new();
        for (index, module) in self.modules.iter().enumerate().filter(|(_, module)| self.is_strict(module)) {
            imports::duplicates(module, &mut recoverable);
            imports::root_documents(module, |rule| self.is_checked(index, rule), &mut recoverable);
        }
        recoverable.extend(self.flatten(errors));
        if errors.is_empty() {
            self.check_rules(errors);
        }
        errors.append(&mut recoverable);
    }

    /// Makes all rules flat. Gives the errors that do not keep the later checks from running.
    fn flatten(&mut self, errors: &mut Vec<Error>) -> Vec<Error> {
        let mut recoverable = Vec::new();
        let exports = globals::exports(self.modules);
        for (index, module) in self.modules.iter().enumerate() {
            let globals = globals::globals(module, exports.get(&globals::package_path(module)));
            let mut builder = build::Builder::new(&module.source, &globals, &mut self.variables, self.options.strict);
            let forms = self.forms;
            for (number, rule) in module.rules.iter().enumerate() {
                if forms.is_none_or(|forms| forms.first(index, number) == number) {
                    builder.rule(index, number, module, rule, &mut self.rules);
                } else {
                    self.left_out = true;
                }
            }
            errors.append(&mut builder.errors);
            recoverable.append(&mut builder.unused);
            if self.options.strict {
                imports::unused(module, &builder.used_imports, &mut recoverable);
            }
        }
        recoverable
    }

    fn check_rules(&self, errors: &mut Vec<Error>) {
        let tree = Tree::new(&self.rules);
        let functions = Functions::new(&self.rules);
        self.each(|source, rule| {
            modifiers::check(source, &rule.body, &tree, &self.rules, &functions, errors);
        });
        if self.rules.iter().any(|rule| uses_metadata(&rule.body))
            && let Err(mut found) = Chains::new(self.modules)
        {
            errors.append(&mut found);
        }
        let (modules, rules, variables) = (self.modules, &self.rules, &self.variables);
        let conflicts = conflicts::Conflicts { modules, rules, tree: &tree, variables };
        if errors.is_empty() {
            conflicts.check(errors);
        }
        if errors.is_empty() {
            for rule in &self.rules {
                if let Some(module) = self.modules.get(rule.module) {
                    functions.check(&module.source, &rule.body, self.is_strict(module), errors);
                }
            }
        }
        if errors.is_empty() {
            self.each(|source, rule| {
                captured::check(&functions, source, variables, &Self::parameters(rule), &rule.body, errors);
            });
        }
        if errors.is_empty() {
            self.heads(errors);
        }
        if errors.is_empty() {
            self.bodies(&functions, errors);
        }
        if errors.is_empty() {
            recursion::check(modules, rules, &tree, variables, self.options.longest_chain, errors);
        }
        if errors.is_empty() && !self.options.untyped {
            types::check(modules, rules, &tree, &functions, variables, self.schemas, errors);
        }
    }

    fn each(&self, mut check: impl FnMut(&Source, &FlatRule)) {
        for rule in &self.rules {
            if let Some(module) = self.modules.get(rule.module) {
                check(&module.source, rule);
            }
        }
    }

    /// The variables of a rule's parameters.
    fn parameters(rule: &FlatRule) -> Vars {
        let mut known = Vars::new();
        if let FlatKind::Function { parameters, .. } = &rule.kind {
            for item in parameters {
                known.extend(vars::of_item(item, vars::Skip::default()));
            }
        }
        known
    }

    /// Every variable of a head must be a parameter or stand in the body.
    fn heads(&self, errors: &mut Vec<Error>) {
        let scopes = report::RuleScopes::new(self.modules);
        self.each(|source, rule| {
            let mut known = Self::parameters(rule);
            vars::in_body(&rule.body, vars::Skip::CLOSURES, &mut |id| {
                known.insert(id);
            });
            for (id, span) in rule.head_vars.iter().filter(|(id, _)| !known.contains(id)) {
                if let Some(name) = self.variables.name(*id) {
                    errors.push(report::unsafe_variable(source, *span, name, &scopes.of(rule)));
                }
            }
        });
    }

    fn bodies(&self, functions: &Functions<'_>, errors: &mut Vec<Error>) {
        let scopes = report::RuleScopes::new(self.modules);
        self.each(|source, rule| {
            let known = Self::parameters(rule);
            let (_, found) = safety::order(functions, &known, &rule.body);
            report::unsafe_steps(source, &self.variables, found, &scopes.of(rule), errors);
        });
    }
}
