//! Deciding: one request, one policy set, one `now`. Everything that is not `true` is a denial (law L3).

use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::{Engine, Value};
use sekisho_types::{Effect, UnixTime};

use crate::input::RequestInput;
use crate::load::{PolicySet, limit_steps};
use crate::lower::{FactCache, Facts, LoweredRule, Truth};
use crate::oracle::{Evaluated, Oracle};
use crate::source::ENTRY_RULE;
use crate::{builtins, work};

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    pub line: u32,
    /// The condition as the policy's author wrote it.
    pub condition: String,
    /// What was found instead, as JSON; `None` when it was missing or cannot be shown.
    pub found: Option<String>,
}

/// The result of one body of the entry rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOutcome {
    pub file: String,
    pub line: u32,
    pub unmet: Vec<Unmet>,
    /// Conditions outside the fragment that we can explain.
    pub unknown: usize,
}

impl RuleOutcome {
    /// `authz.rego:5`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// A decision, with the rule that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub effect: Effect,
    /// The body that allowed, or the nearest one.
    pub rule: Option<RuleOutcome>,
    /// Set when evaluating failed; the effect is then a denial.
    pub error: Option<String>,
}

impl PolicySet {
    /// Decides `request` at `now`: each rule by the lowering if it covers the rule completely, else by the engine.
    pub fn decide(&self, request: &RequestInput, now: UnixTime) -> Decision {
        self.decide_facts(request, || request.to_value(now), now)
    }

    /// The same, always by the engine: the reference for the lowering.
    pub fn decide_by_engine(&self, request: &RequestInput, now: UnixTime) -> Decision {
        let facts = self.lowered.memo(request, now);
        self.explained(&facts, self.by_engine(request.to_value(now), now))
    }

    pub(crate) fn decide_value(&self, input: &Value, now: UnixTime) -> Decision {
        self.decide_facts(input, || input.clone(), now)
    }

    fn decide_facts(&self, facts: &impl Facts, input: impl Fn() -> Value, now: UnixTime) -> Decision {
        work::begin();
        let facts = self.lowered.memo(facts, now);
        let result = match (self.verdict(&facts), &self.rest) {
            (Some(allowed), _) if self.lowered.is_complete() => Ok(allowed),
            (Some(allowed), Some(rest)) => match run(rest, input(), now) {
                Ok(Value::Undefined) => Ok(allowed),
                Ok(Value::Bool(true)) => Ok(true),
                Ok(_) if !allowed => Ok(false),
                // Two rules with different values: the engine reports their lines.
                Ok(_) => self.by_engine(input(), now),
                Err(error) => Err(error),
            },
            _ => self.by_engine(input(), now),
        };
        self.explained(&facts, result)
    }

    /// Whether some rule that is decided here allows; `None` when one of them cannot be decided: it may err, and so
    /// deny all.
    fn verdict(&self, facts: &FactCache<'_, impl Facts>) -> Option<bool> {
        if !self.lowered.apart {
            return None;
        }
        let mut allowed = false;
        for rule in self.lowered.rules.iter().filter(|rule| rule.decided) {
            let mut met = true;
            for stated in &rule.conditions {
                match stated.truth(facts) {
                    Truth::Met => {}
                    Truth::Unknown => return None,
                    Truth::Unmet if rule.certain => {
                        met = false;
                        break;
                    }
                    Truth::Unmet => met = false,
                }
            }
            allowed |= met;
        }
        Some(allowed)
    }

    fn explained(&self, facts: &FactCache<'_, impl Facts>, result: Result<bool, String>) -> Decision {
        let (effect, error) = match result {
            Ok(true) => (Effect::Allow, None),
            Ok(false) => (Effect::Deny, None),
            Err(error) => (Effect::Deny, Some(error)),
        };
        let rule = self.rule_to_explain(facts, effect).map(|rule| outcome(rule, facts));
        Decision { effect, rule, error }
    }

    fn by_engine(&self, input: Value, now: UnixTime) -> Result<bool, String> {
        run(&self.engine, input, now).map(|value| value == Value::from(true))
    }

    /// Where tokens stand for what a record hides, and `oracle` answers for them. `watched` wants to know what was
    /// evaluated.
    pub(crate) fn decide_asking(
        &self,
        request: &RequestInput,
        now: UnixTime,
        oracle: &Oracle,
        watched: bool,
    ) -> (Decision, Evaluated) {
        let facts = self.lowered.memo(request, now).asking(oracle);
        if !watched
            && self.lowered.is_complete()
            && let Some(allowed) = self.verdict(&facts)
        {
            return (self.explained(&facts, Ok(allowed)), Evaluated::default());
        }
        let evaluate = || {
            let mut engine = self.engine.clone();
            let prepared = builtins::bind_clock(&mut engine, now).and_then(|()| oracle.install(&mut engine));
            engine.set_enable_coverage(watched);
            let input = request.to_value(now);
            work::begin();
            limit_steps(&mut engine, &input);
            engine.set_input(input);
            let value = prepared
                .and_then(|()| engine.eval_rule(ENTRY_RULE.to_owned()).map_err(|e| shown_error(&e.to_string())))
                .map(|value| value == Value::from(true));
            (value, if watched { Evaluated::of(&engine) } else { Evaluated::default() })
        };
        let caught = catch_unwind(AssertUnwindSafe(evaluate));
        let (result, evaluated) =
            caught.unwrap_or_else(|_| (Err("the policy engine panicked".to_owned()), Evaluated::default()));
        (self.explained(&facts, result), evaluated)
    }

    /// The body that allowed, or the nearest one.
    fn rule_to_explain(&self, facts: &FactCache<'_, impl Facts>, effect: Effect) -> Option<&LoweredRule> {
        let mut best: Option<((usize, usize), &LoweredRule)> = None;
        for rule in &self.lowered.rules {
            let (mut unmet, mut unknown) = (0, 0);
            for stated in &rule.conditions {
                match stated.truth(facts) {
                    Truth::Met => {}
                    Truth::Unmet => unmet += 1,
                    Truth::Unknown => unknown += 1,
                }
                // A rule that cannot be nearer is skipped.
                if unmet > best.map_or(usize::MAX, |((fewest, _), _)| fewest) || (unmet > 0 && effect.is_allow()) {
                    break;
                }
            }
            let worth = (unmet, if effect.is_allow() { unknown } else { 0 });
            if (unmet == 0 || !effect.is_allow()) && best.is_none_or(|(other, _)| worth < other) {
                best = Some((worth, rule));
                if effect.is_allow() && unknown == 0 {
                    break;
                }
            }
        }
        best.map(|(_, rule)| rule)
    }
}

/// The value of the entry rule in a copy of `engine`.
fn run(engine: &Engine, input: Value, now: UnixTime) -> Result<Value, String> {
    let evaluate = || {
        work::begin();
        let mut engine = engine.clone();
        builtins::bind_clock(&mut engine, now)?;
        limit_steps(&mut engine, &input);
        engine.set_input(input);
        engine.eval_rule(ENTRY_RULE.to_owned()).map_err(|e| shown_error(&e.to_string()))
    };
    // The engine is large and not ours: a panic in it is one request's denial (law L9).
    catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| Err("the policy engine panicked".to_owned()))
}

fn outcome(rule: &LoweredRule, facts: &FactCache<'_, impl Facts>) -> RuleOutcome {
    let mut out = RuleOutcome { file: rule.file.clone(), line: rule.line, unmet: vec![], unknown: 0 };
    for stated in &rule.conditions {
        match stated.truth(facts) {
            Truth::Met => {}
            Truth::Unknown => out.unknown += 1,
            Truth::Unmet => out.unmet.push(Unmet {
                line: stated.line,
                condition: stated.text.clone(),
                found: stated.condition.found(facts).and_then(|value| value.to_json_str().ok()),
            }),
        }
    }
    out
}

/// The form of an error in a record: its place and kind. The engine's own message may quote the input, and so a header
/// that records mask.
fn shown_error(message: &str) -> String {
    const KINDS: [(&str, &str); 6] = [
        ("more work than", "its builtins do more work than a decision may do"),
        ("larger than a decision may make", "the result would be larger than a decision may make"),
        ("is not available here", "a builtin that is not available here"),
        ("time limit", "it takes more steps than a decision may take"),
        ("conflict", "two rules give different values"),
        ("multiple outputs", "two rules give different values"),
    ];
    let kind = KINDS
        .iter()
        .find(|(sign, _)| message.contains(sign))
        .map_or("a builtin or an operator failed", |(_, kind)| kind);
    let place = message.split("--> ").nth(1).and_then(|rest| rest.lines().next());
    let line = place.and_then(|place| {
        let (file, line) = place.rsplit_once(':')?.0.rsplit_once(':')?;
        line.parse::<u32>().ok().map(|line| format!("{file}:{line}: "))
    });
    format!("{}{kind}", line.unwrap_or_default())
}

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;
