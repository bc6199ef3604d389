//! The lowering: from the policy engine's syntax tree to typed conditions, for the linear fragment.
//!
//! The fragment is: a body of comparisons, memberships and bare references over `input`, constants,
//! `time.now_ns()` and arithmetic, where a name may be bound by a one-line rule. A statement outside it
//! becomes [`Condition::Opaque`]: it is shown, and never guessed at.
//!
//! A rule that lies in the fragment is decided here, the others by an engine that has only those. What could be an
//! error in the engine is [`decision::Truth::Unknown`] here, and then the engine decides on all of them.
//!
//! Equal conditions are one, and a decision table ([`Lowered::table`]) says which rules hold.

mod call;
mod condition;
mod extent;
mod facts;
mod read;
mod request;
mod term;
mod typed;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use sekisho_rego::decision::{self, Table};
use sekisho_rego::syntax::ast::{Body, HeadKind, Import, Module, Rule, Source, Target};
use sekisho_types::UnixTime;

use crate::context::WORK;
use crate::input::RequestInput;
use crate::refs::{head_name, package};
use condition::Condition;
use extent::{ENTRY_PACKAGE, is_above, is_plain, only_allows};
use facts::Path;
pub(crate) use facts::{FactCache, Facts};
use read::Reader;
pub(crate) use read::Stated;
use request::{Judged, Place};
use typed::Typing;

/// The entry rule, lowered.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub rules: Vec<LoweredRule>,
    /// Statements of all rules.
    stated: Vec<Stated>,
    /// Different conditions, by their numbers.
    conditions: Vec<Condition>,
    /// Different places of the input that they look at, by their numbers.
    paths: Vec<Path>,
    places: Vec<Option<Place>>,
    /// Which rules hold, without looking at each.
    pub table: Table,
    files: Vec<Arc<Source>>,
    /// Whether nothing beside its rules changes what the entry rule comes to; else the engine decides all.
    pub apart: bool,
    /// The rules that are decided here, and the defaults: module and number in it.
    settled: BTreeSet<(usize, usize)>,
    pub has_default: bool,
    /// Whether there are rules that are not decided here.
    pub has_rest: bool,
}

/// One body of the entry rule.
#[derive(Debug, Clone)]
pub(crate) struct LoweredRule {
    /// The number of its file.
    file: usize,
    pub line: u32,
    stated: Range<usize>,
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

    /// What one decision looks at, with what it found out.
    pub(crate) fn memo<'a, F: Facts>(&'a self, facts: &'a F, now: UnixTime) -> FactCache<'a, F> {
        FactCache::new(facts, now, &self.paths, self.conditions.len())
    }

    /// The same for a few conditions.
    pub(crate) fn facts<'a, F: Facts>(&'a self, facts: &'a F, now: UnixTime) -> FactCache<'a, F> {
        FactCache::new(facts, now, &self.paths, 0)
    }

    /// A request as the table looks at it.
    pub(crate) const fn judged<'a>(&'a self, request: &'a RequestInput, now: UnixTime) -> Judged<'a> {
        let (places, paths, conditions) = (self.places.as_slice(), self.paths.as_slice(), self.conditions.as_slice());
        Judged { request, now, places, paths, conditions, facts: OnceCell::new() }
    }

    /// The statements of a rule.
    pub(crate) fn stated(&self, rule: &LoweredRule) -> &[Stated] {
        self.stated.get(rule.stated.clone()).unwrap_or_default()
    }

    pub(crate) fn condition(&self, stated: &Stated) -> &Condition {
        self.conditions.get(stated.condition as usize).unwrap_or(&Condition::Opaque)
    }

    /// The truth of a statement; equal conditions are evaluated once.
    pub(crate) fn truth(&self, stated: &Stated, facts: &FactCache<'_, impl Facts>) -> decision::Truth {
        facts.once(stated.condition, || self.condition(stated).truth(facts))
    }

    /// The name of a rule's file.
    pub(crate) fn file(&self, rule: &LoweredRule) -> &str {
        self.files.get(rule.file).map_or("", |source| &source.file)
    }

    /// A statement as the policy's author wrote it, on one line.
    pub(crate) fn text(&self, rule: &LoweredRule, stated: &Stated) -> String {
        let text =
            self.files.get(rule.file).and_then(|source| source.text.get(stated.start as usize..stated.end as usize));
        text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
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
    let mut bodies = Bodies {
        reader: Reader::of(&ours),
        rules: vec![],
        stated: vec![],
        settled: BTreeSet::new(),
        has_default: false,
        has_rest: false,
    };
    for (at, module) in modules.iter().enumerate().filter(|(_, module)| package(module) == ENTRY_PACKAGE) {
        for (number, rule) in module.rules.iter().enumerate().filter(|(_, rule)| head_name(&rule.head) == Some("allow"))
        {
            bodies.add((at, number), rule);
        }
    }
    bodies.lowered(apart, modules.iter().map(|module| module.source.clone()).collect())
}

/// The bodies of the entry rule, one after the other.
struct Bodies<'m> {
    reader: Reader<'m>,
    rules: Vec<LoweredRule>,
    stated: Vec<Stated>,
    settled: BTreeSet<(usize, usize)>,
    has_default: bool,
    has_rest: bool,
}

impl<'m> Bodies<'m> {
    fn add(&mut self, place: (usize, usize), rule: &'m Rule) {
        if rule.default {
            self.has_default = true;
            self.settled.insert(place);
            return;
        }
        if !matches!(rule.head.kind, HeadKind::Value(_)) {
            return;
        }
        let (first, line) = (self.rules.len(), rule.head.span.line);
        for body in std::iter::once(&rule.body).chain(rule.otherwise.iter().map(|branch| &branch.body)) {
            let stated = self.body(body.as_ref());
            self.rules.push(LoweredRule { file: place.0, line, stated, decided: false, certain: false });
        }
        let clear = self.stated.get(self.rules.get(first).map_or(0, |rule| rule.stated.start)..).unwrap_or_default();
        let decided = only_allows(rule) && clear.iter().all(|stated| self.reader.is_clear(stated));
        self.rules.iter_mut().skip(first).for_each(|rule| rule.decided = decided);
        if decided {
            self.settled.insert(place);
        } else {
            self.has_rest = true;
        }
    }

    fn body(&mut self, body: Option<&'m Body>) -> Range<usize> {
        let begin = self.stated.len();
        self.stated.extend(body.map(|body| self.reader.body(body)).unwrap_or_default());
        begin..self.stated.len()
    }

    fn lowered(mut self, apart: bool, files: Vec<Arc<Source>>) -> Lowered {
        let (conditions, paths) = self.reader.done();
        let is_certain: Vec<bool> = conditions.iter().map(|condition| condition.is_certain(&paths)).collect();
        let mut rules = Vec::with_capacity(self.rules.len());
        for rule in &mut self.rules {
            let stated = self.stated.get(rule.stated.clone()).unwrap_or_default();
            let numbers = stated.iter().map(|stated| stated.condition);
            rule.certain = numbers.clone().all(|number| is_certain.get(number as usize) == Some(&true));
            rules.push(decision::Rule { conditions: numbers.collect(), decides: rule.decided });
        }
        let places: Vec<Option<Place>> = paths.iter().map(Place::of).collect();
        let mut typing = Typing::over(&places);
        let tests: Vec<decision::Condition> = conditions.iter().map(|condition| typing.condition(condition)).collect();
        Lowered {
            table: Table::new(&tests, &rules, WORK),
            rules: self.rules,
            stated: self.stated,
            conditions,
            paths,
            places,
            files,
            apart,
            settled: self.settled,
            has_default: self.has_default,
            has_rest: self.has_rest,
        }
    }
}

#[cfg(test)]
mod tests;
