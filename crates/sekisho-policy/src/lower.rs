//! The lowering: from the policy engine's syntax tree to typed conditions, for the linear fragment.
//!
//! The fragment is: a body of comparisons, memberships and bare references over `input`, constants,
//! `time.now_ns()` and arithmetic, where a name may be bound by a one-line rule. A statement outside it
//! becomes [`condition::Condition::Opaque`]: it is shown, and never guessed at.
//!
//! A rule that lies in the fragment is decided here, the others by an engine that has only those. What could be an
//! error in the engine is [`Truth::Unknown`] here, and then the engine decides on all of them.

mod call;
mod condition;
mod extent;
mod facts;
mod read;
mod request;
mod term;

use std::collections::{BTreeMap, BTreeSet};

use sekisho_rego::syntax::ast::{Body, HeadKind, Import, Module, Rule, Target};

use condition::StatedCondition;
use extent::{ENTRY_PACKAGE, is_above, is_plain, only_allows};
pub(crate) use facts::{FactCache, Facts, Truth};
use read::Reader;
use sekisho_types::UnixTime;

use crate::refs::{head_name, package};

/// The entry rule, lowered.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub rules: Vec<LoweredRule>,
    /// Whether nothing beside its rules changes what the entry rule comes to; else the engine decides all.
    pub apart: bool,
    /// The rules that are decided here, and the defaults: module and number in it.
    settled: BTreeSet<(usize, usize)>,
    pub has_default: bool,
    /// Whether there are rules that are not decided here.
    pub has_rest: bool,
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
    pub conditions: Vec<StatedCondition>,
    /// Whether it is decided here: the engine has nothing more to say on it.
    pub decided: bool,
    /// Whether every condition is met or not met on any input; one that is not met then settles the rule.
    pub certain: bool,
}

impl Lowered {
    /// Whether the rules here say all that the engine would go by.
    pub(crate) const fn is_complete(&self) -> bool {
        self.apart && !self.has_rest
    }

    /// Whether some rules are decided here.
    pub(crate) fn decides_some(&self) -> bool {
        self.rules.iter().any(|rule| rule.decided)
    }

    /// The modules without the rules that are decided here, and without the default.
    pub(crate) fn rest(&self, modules: &[Module]) -> Vec<Module> {
        let without = |(at, module): (usize, &Module)| {
            let kept = |number: &usize| !self.settled.contains(&(at, *number));
            let numbers: Vec<usize> = (0..module.rules.len()).filter(kept).collect();
            let mut module = module.clone();
            let mut number = 0..;
            module.rules.retain(|_| number.next().is_none_or(|number| kept(&number)));
            // An annotation names its rule by number.
            module.annotations.retain_mut(|annotation| {
                if let Target::Rule(rule) = &mut annotation.target {
                    let Ok(now) = numbers.binary_search(rule) else { return false };
                    *rule = now;
                }
                true
            });
            module
        };
        modules.iter().enumerate().map(without).collect()
    }

    /// What one decision looks at.
    pub(crate) fn memo<'a, F: Facts>(&self, facts: &'a F, now: UnixTime) -> FactCache<'a, F> {
        FactCache::new(facts, now, self.slots, self.conditions)
    }
}

/// Lowers every body of `allow` in package `workload.authz`.
pub(crate) fn lower(modules: &[Module]) -> Lowered {
    let ours: Vec<&Module> = modules.iter().filter(|module| package(module) == ENTRY_PACKAGE).collect();
    // Another package could add to the entry rule's document from above or below.
    let apart = |module: &Module| {
        let package = package(module);
        package == ENTRY_PACKAGE || !(package.starts_with(&ENTRY_PACKAGE.map(String::from)) || is_above(&package))
    };
    let plain = |module: &&Module| !module.imports.iter().any(Import::binds) && module.rules.iter().all(is_plain);
    let apart = modules.iter().all(apart) && ours.iter().all(plain);
    let mut reader = Reader::of(&ours);
    let mut out = Lowered {
        rules: vec![],
        apart,
        settled: BTreeSet::new(),
        has_default: false,
        has_rest: false,
        slots: 0,
        conditions: 0,
    };
    for (at, module) in modules.iter().enumerate().filter(|(_, module)| package(module) == ENTRY_PACKAGE) {
        for (number, rule) in module.rules.iter().enumerate().filter(|(_, rule)| head_name(&rule.head) == Some("allow"))
        {
            out.add(module, (at, number), rule, &mut reader);
        }
    }
    out.number();
    out
}

impl Lowered {
    fn add<'m>(&mut self, module: &'m Module, place: (usize, usize), rule: &'m Rule, reader: &mut Reader<'m>) {
        if rule.default {
            self.has_default = true;
            self.settled.insert(place);
            return;
        }
        if !matches!(rule.head.kind, HeadKind::Value(_)) {
            return;
        }
        let lowered = |conditions: Vec<StatedCondition>| LoweredRule {
            file: module.source.file.to_string(),
            line: rule.head.span.line,
            decided: conditions.iter().all(|stated| stated.condition.is_clear()),
            certain: conditions.iter().all(|stated| stated.condition.is_certain()),
            conditions,
        };
        let mut body = |body: Option<&'m Body>| {
            lowered(body.map(|body| reader.body(body, &module.source.text)).unwrap_or_default())
        };
        let mut rules = vec![body(rule.body.as_ref())];
        rules.extend(rule.otherwise.iter().map(|branch| body(branch.body.as_ref())));
        let decided = only_allows(rule) && rules.iter().all(|rule| rule.decided);
        rules.iter_mut().for_each(|rule| rule.decided = decided);
        self.rules.append(&mut rules);
        if decided {
            self.settled.insert(place);
        } else {
            self.has_rest = true;
        }
    }

    fn number(&mut self) {
        let (mut slots, mut conditions) = (BTreeMap::new(), BTreeMap::new());
        for stated in self.rules.iter_mut().flat_map(|rule| &mut rule.conditions) {
            stated.condition.number(&mut slots);
            let next = conditions.len();
            stated.number = *conditions.entry(format!("{:?}", stated.condition)).or_insert(next);
        }
        (self.slots, self.conditions) = (slots.len(), conditions.len());
    }
}

#[cfg(test)]
mod tests;
