//! Modules and queries become programs.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::{Literal, LiteralKind, Term};
use super::early::early_first;
use super::emit::Emitter;
use super::index::index;
use super::lower::{Lowered, Lowerer, Metadata, declared_names, literal, pattern_names};
use super::order::Vars;
use super::registry::{Registry, package_path, scalar};
use super::shared::{ProgramError, RuleSetId};
use super::step::{Block, Branch, Operand, Pattern, Query, Rule, RuleSet, Slot};
use super::template::{self, Template};
use super::tree::Program;
use crate::syntax::ast::{self, Body, HeadKind, Module, Source, Span};
use crate::syntax::forms::{Form, Forms};
use crate::syntax::metadata::Chains;
use crate::value::Value;

/// Lowers modules that the checker has accepted.
pub(crate) fn compile(
    modules: &[Module],
    forms: &Forms,
    prints: bool,
) -> Result<(Program, Registry), Vec<ProgramError>> {
    let mut registry = Registry::new(modules, prints);
    let paths = registry.tree.paths.iter().zip(&registry.kinds);
    let empty = |(path, kind): (&Arc<[Value]>, &_)| RuleSet {
        path: path.clone(),
        kind: *kind,
        rules: Vec::new(),
        default: None,
        constant: false,
        index: None,
    };
    let mut sets: Vec<RuleSet> = paths.map(empty).collect();
    let mut errors = Vec::new();
    let chains = Chains::new(modules).ok();
    for (at, module) in modules.iter().enumerate() {
        let globals = registry.globals(module);
        let ids = registry.set_of.get(at).into_iter().flatten();
        let mut alike = Alike::default();
        // What it tells of a rule is of this rule alone.
        let single = module.source.text.contains("metadata");
        for (number, (rule, id)) in module.rules.iter().zip(ids).enumerate() {
            let first = forms.first(at, number);
            let lower = |marks| {
                let mut lowerer = Lowerer::new(&registry, &globals, module.source.file.clone());
                let place = |chains| Metadata { chains, module: at, rule: number, branch: 0 };
                lowerer.metadata = chains.as_ref().map(place);
                lowerer.marks = marks;
                lower_rule(lowerer, module, rule, *id)
            };
            let lowered =
                if first == number || single { lower(HashMap::new()) } else { alike.rule(first, rule, lower) };
            match lowered {
                Ok(mut lowered) => {
                    lowered.module = u32::try_from(at).unwrap_or(u32::MAX);
                    add(&mut sets, *id, lowered, rule.default);
                }
                Err(error) => errors.push(error),
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for set in &mut sets {
        set.constant = is_constant(set);
        set.index = index(&set.rules);
    }
    let sources = modules.iter().map(|module| module.source.clone()).collect();
    let nodes = std::mem::take(&mut registry.tree.nodes);
    registry.tree.nodes = nodes.iter().map(super::tree::Node::copy).collect();
    Ok((Program { nodes, sets, sources }, registry))
}

/// The templates of a module by the first rule of each form; none for a form that has none.
#[derive(Default)]
struct Alike<'a> {
    templates: HashMap<usize, Option<Template>>,
    form: Form<'a>,
}

impl<'a> Alike<'a> {
    /// A rule whose form is that of the rule `first`.
    fn rule(
        &mut self,
        first: usize,
        rule: &'a ast::Rule,
        lower: impl Fn(HashMap<Span, Value>) -> Lowered<Rule>,
    ) -> Lowered<Rule> {
        self.form.read(rule);
        let form = &self.form;
        let template = self.templates.entry(first).or_insert_with(|| {
            let marked = lower(template::marks(form)).ok()?;
            Template::new(marked, form)
        });
        // A number may be out of bounds: then there is an error to report.
        let values: Option<Vec<Value>> = form.constants.iter().map(|term| scalar(term)).collect();
        match (template, values) {
            (Some(template), Some(values)) => Ok(template.rule(&values, &form.spans)),
            _ => lower(HashMap::new()),
        }
    }
}

fn add(sets: &mut [RuleSet], id: RuleSetId, rule: Rule, default: bool) {
    if let Some(set) = sets.get_mut(id as usize) {
        match default {
            true => set.default = Some(rule),
            false => set.rules.push(rule),
        }
    }
}

/// Lowers a query; its names are those of a package and of imports.
pub(crate) fn compile_query(
    registry: &Registry,
    source: &Source,
    body: &Body,
    package: &[Value],
    imports: &[ast::Import],
) -> Result<Query, ProgramError> {
    let globals = registry.query_globals(package, imports);
    let mut lowerer = Lowerer::new(registry, &globals, source.file.clone());
    lowerer.open(declared_names(body));
    let mut literals = Vec::new();
    lowerer.exprs(body, &mut literals)?;
    let declared = lowerer.close();
    let mut emitter = Emitter { lowerer: &mut lowerer, bound: Vars::new() };
    let steps = emitter.body(&literals, body.span)?;
    let bound = emitter.bound;
    let visible = |(name, var): (&Arc<str>, &Slot)| bound.contains(var).then(|| (name.clone(), *var));
    let free = lowerer.free.iter().filter_map(visible).map(|(name, var)| (name, var, false));
    let free: Vec<_> = free
        .chain(
            declared
                .iter()
                .map(|(name, (var, _))| (name, var))
                .filter_map(visible)
                .map(|(name, var)| (name, var, true)),
        )
        .collect();
    let block = Block { steps: steps.into() };
    Ok(Query { block, span: body.span, variables: free.into(), slots: slots(&lowerer) })
}

fn slots(lowerer: &Lowerer<'_>) -> u32 {
    u32::try_from(lowerer.names.len()).unwrap_or(u32::MAX)
}

fn lower_rule(mut lowerer: Lowerer<'_>, module: &Module, rule: &ast::Rule, set: RuleSetId) -> Lowered<Rule> {
    let mut names = Vec::new();
    let parameters = rule.head.parameters().unwrap_or_default();
    parameters.iter().for_each(|parameter| pattern_names(parameter, &mut names));
    names.sort_unstable();
    names.dedup();
    lowerer.open(names.clone());
    lowerer.declare(&names);
    let mut support = Vec::new();
    let mut terms = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let term = lowerer.term(parameter, &mut support)?;
        terms.push(plain(&mut lowerer, term, &mut support, parameter.span));
    }
    let mut emitter = Emitter { lowerer: &mut lowerer, bound: Vars::new() };
    let parameters: Box<[Pattern]> =
        terms.iter().map(|term| emitter.pattern(term, rule.head.span)).collect::<Lowered<_>>()?;
    let bound = emitter.bound;
    let root = lowerer.registry.tree.paths.get(set as usize).map_or(0, |path| path.len());
    let skipped = root.saturating_sub(package_path(module).len() + 1);
    let mut branches = Vec::with_capacity(1 + rule.otherwise.len());
    let path = rule.head.path.get(skipped..).unwrap_or_default();
    let (value, element) = match &rule.head.kind {
        HeadKind::Set { element, .. } => (Some(element), true),
        HeadKind::Value(value) | HeadKind::Function { value, .. } => (value.as_ref(), false),
    };
    let part = Part { body: rule.body.as_ref(), path, value, span: rule.head.span };
    branches.push(branch(&mut lowerer, &bound, &support, &parameters, part)?);
    for otherwise in &rule.otherwise {
        if let Some(metadata) = &mut lowerer.metadata {
            metadata.branch += 1;
        }
        let value = otherwise.value.as_ref();
        let part = Part { body: otherwise.body.as_ref(), path: &[], value, span: otherwise.span };
        branches.push(branch(&mut lowerer, &bound, &support, &parameters, part)?);
    }
    Ok(Rule { parameters, element, branches: branches.into(), slots: slots(&lowerer), module: 0 })
}

/// A term that can be a pattern: a reference becomes a variable that equals it.
fn plain(lowerer: &mut Lowerer<'_>, term: Term, support: &mut Vec<Literal>, span: Span) -> Term {
    match term {
        Term::Ref(..) | Term::Comprehension(_) => {
            let var = Term::Var(lowerer.fresh(None));
            let kind = LiteralKind::Equal { left: var.clone(), right: term, assign: false };
            support.push(literal(kind, span));
            var
        }
        Term::Array(items) => Term::Array(items.into_iter().map(|item| plain(lowerer, item, support, span)).collect()),
        Term::Object(members) => {
            let member = |(key, value)| (key, plain(lowerer, value, support, span));
            Term::Object(members.into_iter().map(member).collect())
        }
        _ => term,
    }
}

/// What a branch is made of.
struct Part<'a> {
    body: Option<&'a Body>,
    path: &'a [ast::RefPart],
    value: Option<&'a ast::Term>,
    span: Span,
}

fn branch(
    lowerer: &mut Lowerer<'_>,
    bound: &Vars,
    support: &[Literal],
    parameters: &[Pattern],
    part: Part<'_>,
) -> Lowered<Branch> {
    let Part { body, path, value, span } = part;
    let mut literals = Vec::new();
    lowerer.open(body.map(declared_names).unwrap_or_default());
    if let Some(body) = body {
        lowerer.exprs(body, &mut literals)?;
    }
    let mut keys = Vec::with_capacity(path.len());
    for key in path {
        keys.push(lowerer.term(&key.term, &mut literals)?);
    }
    let value = match value {
        Some(value) => lowerer.term(value, &mut literals)?,
        None => Term::Const(Value::Bool(true)),
    };
    literals.extend(support.iter().cloned());
    lowerer.close();
    let mut emitter = Emitter { lowerer, bound: bound.clone() };
    let mut steps = emitter.body(&literals, span)?;
    let mut operands = Vec::with_capacity(keys.len());
    for key in &keys {
        let key = emitter.hoist(key, span, &mut steps)?;
        operands.push(emitter.operand(&key, span)?);
    }
    let value = emitter.hoist(&value, span, &mut steps)?;
    let value = emitter.operand(&value, span)?;
    let steps = early_first(steps, parameters);
    Ok(Branch { block: Block { steps: steps.into() }, path: operands.into(), value, span })
}

/// Whether every branch of every rule gives the same constant.
fn is_constant(set: &RuleSet) -> bool {
    let mut values = set.rules.iter().flat_map(|rule| rule.branches.iter()).map(|branch| match &branch.value {
        Operand::Const(value) => Some(value),
        _ => None,
    });
    let Some(Some(first)) = values.next() else { return false };
    values.all(|value| value == Some(first))
}
