//! The lowering: from the policy engine's syntax tree to typed conditions, for the linear fragment.
//!
//! The fragment is: a body of comparisons, memberships and bare references over `input`, constants,
//! `time.now_ns()` and arithmetic, where a name may be bound by a one-line rule. A statement outside it
//! becomes [`Condition::Opaque`]: it is shown, and never guessed at.
//!
//! A policy set all of whose entry rule lies in the fragment is decided here, without the engine. What could be an
//! error in the engine is [`Truth::Unknown`] here, and then the engine decides.

mod condition;
mod extent;
mod facts;
mod read;
mod term;

use std::collections::BTreeMap;

use regorus::unstable::{Module, Ref, Rule, RuleHead};

pub(crate) use condition::{Condition, Truth};
use extent::{ENTRY_PACKAGE, is_above, is_plain, is_syntax_import};
pub(crate) use facts::{Facts, Memo};
pub(crate) use read::reference;
use read::{bindings, stated};
pub(crate) use term::Path;

/// The entry rule, lowered.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub rules: Vec<LoweredRule>,
    /// Whether the rules say all that the engine would go by.
    pub complete: bool,
    /// How many different places of the input they look at.
    pub slots: usize,
    /// How many different conditions they state.
    pub conditions: usize,
}

/// One body of the entry rule.
#[derive(Debug, Clone)]
pub(crate) struct LoweredRule {
    pub file: String,
    pub line: u32,
    pub conditions: Vec<Stated>,
    /// Whether every condition is met or not met on any input; one that is not met then settles the rule.
    pub certain: bool,
}

/// A condition and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Stated {
    pub line: u32,
    pub text: String,
    pub condition: Condition,
    /// Equal conditions have the same number, in whichever rules they stand.
    number: usize,
}

/// Lowers every body of `allow` in package `workload.authz`.
pub(crate) fn lower(modules: &[Ref<Module>]) -> Lowered {
    let package = |module: &Module| reference(&module.package.refr).unwrap_or_default();
    let ours: Vec<&Ref<Module>> = modules.iter().filter(|module| package(module) == ENTRY_PACKAGE).collect();
    let bindings = bindings(&ours);
    let mut rules: Vec<LoweredRule> = Vec::new();
    for rule in ours.iter().flat_map(|module| &module.policy) {
        let Rule::Spec { head: RuleHead::Compr { span, refr, .. }, bodies, .. } = &**rule else { continue };
        if reference(refr).is_none_or(|path| path != ["allow"]) {
            continue;
        }
        if bodies.is_empty() {
            rules.push(LoweredRule {
                file: span.source.file().clone(),
                line: span.line,
                conditions: vec![],
                certain: true,
            });
        }
        for body in bodies {
            let conditions: Vec<Stated> =
                body.query.stmts.iter().map(|statement| stated(statement, &bindings)).collect();
            let certain = conditions.iter().all(|stated| stated.condition.is_certain());
            rules.push(LoweredRule { file: span.source.file().clone(), line: span.line, conditions, certain });
        }
    }
    // Another package could add to the entry rule's document from above or below.
    let apart = |module: &Ref<Module>| {
        let package = package(module);
        package == ENTRY_PACKAGE || !(package.starts_with(&ENTRY_PACKAGE.map(String::from)) || is_above(&package))
    };
    let plain = |module: &&Ref<Module>| {
        module.imports.iter().all(is_syntax_import) && module.policy.iter().all(|r| is_plain(r))
    };
    let clear = rules.iter().flat_map(|rule| &rule.conditions).all(|stated| stated.condition.is_clear());
    let complete = clear && modules.iter().all(apart) && ours.iter().all(plain);
    let mut slots = BTreeMap::new();
    let mut conditions = BTreeMap::new();
    for stated in rules.iter_mut().flat_map(|rule| &mut rule.conditions) {
        stated.condition.number(&mut slots);
        let next = conditions.len();
        stated.number = *conditions.entry(format!("{:?}", stated.condition)).or_insert(next);
    }
    Lowered { complete, slots: slots.len(), conditions: conditions.len(), rules }
}
