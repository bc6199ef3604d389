//! The lowering: from the policy engine's syntax tree to typed conditions, for the linear fragment.
//!
//! The fragment is: a body of comparisons, memberships and bare references over `input`, constants,
//! `time.now_ns()` and arithmetic, where a name may be bound by a one-line rule. A statement outside it
//! becomes [`condition::Condition::Opaque`]: it is shown, and never guessed at.
//!
//! A rule that lies in the fragment is decided here, the others by an engine that has only those ([`rest`]). What could
//! be an error in the engine is [`Truth::Unknown`] here, and then the engine decides on all of them.

mod call;
mod condition;
mod extent;
mod facts;
mod read;
mod request;
pub(crate) mod rest;
mod term;

use std::collections::BTreeMap;

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead};

use condition::StatedCondition;
use extent::{ENTRY_PACKAGE, is_above, is_plain, is_syntax_import, only_allows};
pub(crate) use facts::{FactCache, Facts, Truth};
use read::Reader;
use sekisho_types::UnixTime;

use crate::refs::reference;

/// The entry rule, lowered.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub rules: Vec<LoweredRule>,
    /// Whether nothing beside its rules changes what the entry rule comes to; else the engine decides all.
    pub apart: bool,
    /// Where the heads of the rules stand that are decided here.
    pub decided: Vec<Head>,
    /// Where those of the default stand, and whether there are rules that are not decided here.
    pub defaults: Vec<Head>,
    pub has_rest: bool,
    /// How many different places of the input they look at.
    pub slots: usize,
    /// How many different conditions they state.
    pub conditions: usize,
}

/// Where a rule's name begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub file: String,
    pub start: usize,
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

    /// What one decision looks at.
    pub(crate) fn memo<'a, F: Facts>(&self, facts: &'a F, now: UnixTime) -> FactCache<'a, F> {
        FactCache::new(facts, now, self.slots, self.conditions)
    }
}

/// Lowers every body of `allow` in package `workload.authz`.
pub(crate) fn lower(modules: &[Ref<Module>]) -> Lowered {
    let package = |module: &Module| reference(&module.package.refr).unwrap_or_default();
    let ours: Vec<&Ref<Module>> = modules.iter().filter(|module| package(module) == ENTRY_PACKAGE).collect();
    // Another package could add to the entry rule's document from above or below.
    let apart = |module: &Ref<Module>| {
        let package = package(module);
        package == ENTRY_PACKAGE || !(package.starts_with(&ENTRY_PACKAGE.map(String::from)) || is_above(&package))
    };
    let plain = |module: &&Ref<Module>| {
        module.imports.iter().all(is_syntax_import) && module.policy.iter().all(|r| is_plain(r))
    };
    let apart = modules.iter().all(apart) && ours.iter().all(plain);
    let mut reader = Reader::of(&ours);
    let mut out =
        Lowered { rules: vec![], apart, decided: vec![], defaults: vec![], has_rest: false, slots: 0, conditions: 0 };
    for rule in ours.iter().flat_map(|module| &module.policy) {
        out.add(rule, &mut reader);
    }
    out.number();
    out
}

impl Lowered {
    fn add(&mut self, rule: &Rule, reader: &mut Reader) {
        let is_allow = |refr: &Expr| reference(refr).is_some_and(|path| path == ["allow"]);
        let head = |refr: &Expr| Head { file: refr.span().source.file().clone(), start: refr.span().start as usize };
        let (span, refr, bodies) = match rule {
            Rule::Default { refr, .. } if is_allow(refr) => return self.defaults.push(head(refr)),
            Rule::Spec { head: RuleHead::Compr { span, refr, .. }, bodies, .. } if is_allow(refr) => {
                (span, refr, bodies)
            }
            _ => return,
        };
        let lowered = |conditions: Vec<StatedCondition>| LoweredRule {
            file: span.source.file().clone(),
            line: span.line,
            decided: conditions.iter().all(|stated| stated.condition.is_clear()),
            certain: conditions.iter().all(|stated| stated.condition.is_certain()),
            conditions,
        };
        let mut rules: Vec<_> = bodies.iter().map(|body| lowered(reader.body(&body.query))).collect();
        if bodies.is_empty() {
            rules.push(lowered(vec![]));
        }
        // Bodies of one head stay together.
        let decided = only_allows(rule) && rules.iter().all(|rule| rule.decided);
        rules.iter_mut().for_each(|rule| rule.decided = decided);
        self.rules.append(&mut rules);
        if decided {
            self.decided.push(head(refr));
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
