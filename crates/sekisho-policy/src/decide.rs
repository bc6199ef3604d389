//! Deciding: one request, one policy set, one `now`. Everything that is not `true` is a denial (law L3).

use std::panic::{AssertUnwindSafe, catch_unwind};

use sekisho_rego::builtins::{Context, lookup};
use sekisho_rego::value::Value;
use sekisho_rego::{Coverage, Document, EvalCode, EvalError};
use sekisho_types::{Effect, UnixTime};

use crate::context;
use crate::input::RequestInput;
use crate::load::PolicySet;
use crate::lower::{FactCache, Facts, LoweredRule, Truth};
use crate::oracle::Oracle;

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
        let result = self.by_engine(&request.to_value(now), &mut facts.context.borrow_mut());
        self.explained(&facts, result)
    }

    pub(crate) fn decide_value(&self, input: &Value, now: UnixTime) -> Decision {
        self.decide_facts(input, || input.clone(), now)
    }

    fn decide_facts(&self, facts: &impl Facts, input: impl Fn() -> Value, now: UnixTime) -> Decision {
        let facts = self.lowered.memo(facts, now);
        let verdict = self.verdict(&facts);
        let result = match (verdict, &self.rest) {
            (Some(allowed), _) if self.lowered.is_complete() => Ok(allowed),
            (Some(allowed), Some(rest)) => {
                let (input, context) = (input(), &mut facts.context.borrow_mut());
                match run(rest, &input, context, None) {
                    Ok(None) => Ok(allowed),
                    Ok(Some(Value::Bool(true))) => Ok(true),
                    Ok(_) if !allowed => Ok(false),
                    // Two rules with different values: the engine reports their lines.
                    Ok(_) => self.by_engine(&input, context),
                    Err(error) => Err(error),
                }
            }
            _ => self.by_engine(&input(), &mut facts.context.borrow_mut()),
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

    fn by_engine(&self, input: &Value, context: &mut Context) -> Result<bool, String> {
        let Some(entry) = &self.entry else { return Ok(false) };
        run(entry, input, context, None).map(|value| value == Some(Value::Bool(true)))
    }

    /// Where tokens stand for what a record hides, and `oracle` answers for them. `coverage` receives what was
    /// evaluated.
    pub(crate) fn decide_asking(
        &self,
        request: &RequestInput,
        now: UnixTime,
        oracle: &Oracle,
        coverage: Option<&mut Coverage>,
    ) -> Decision {
        let facts = self.lowered.memo(request, now).asking(oracle);
        if coverage.is_none()
            && self.lowered.is_complete()
            && let Some(allowed) = self.verdict(&facts)
        {
            return self.explained(&facts, Ok(allowed));
        }
        let mut context = context::take(now);
        context.answers = Some(oracle.answers_of_builtins());
        let value = match &self.entry {
            Some(entry) => run(entry, &request.to_value(now), &mut context, coverage),
            None => Ok(None),
        };
        context::keep(&mut context);
        self.explained(&facts, value.map(|value| value == Some(Value::Bool(true))))
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

/// The value of a document; `None` where it is undefined.
fn run(
    document: &Document,
    input: &Value,
    context: &mut Context,
    coverage: Option<&mut Coverage>,
) -> Result<Option<Value>, String> {
    context.set_work(context::WORK);
    let evaluate =
        || document.eval_in(&context::NO_DATA, Some(input), context, &context::limits(Some(input)), coverage);
    // The engine and its libraries are large: a panic in it is one request's denial (law L9).
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(value) => value.map_err(|error| shown_error(&error)),
        Err(_) => Err("the policy engine panicked".to_owned()),
    }
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
                found: stated.condition.found(facts).map(|value| value.to_json()),
            }),
        }
    }
    out
}

/// The form of an error in a record: its place and kind. The engine's own message may quote the input, and so a header
/// that records mask.
fn shown_error(error: &EvalError) -> String {
    let builtin = error.message.split_once(": ").map(|(name, _)| name).filter(|name| lookup(name).is_some());
    let kind = match (error.code, builtin) {
        (EvalCode::Conflict, _) => "two rules give different values".to_owned(),
        (EvalCode::Limit, Some(name)) => format!("`{name}` would do more work than a decision may do"),
        (EvalCode::Limit, None) => "it takes more steps than a decision may take".to_owned(),
        (_, Some(name)) => format!("`{name}` failed"),
        (_, None) => "a builtin or an operator failed".to_owned(),
    };
    let place = error.place.as_ref().map(|place| format!("{}:{}: ", place.file, place.line)).unwrap_or_default();
    format!("{place}{kind}")
}

#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;
