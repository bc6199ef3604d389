//! Deciding: one request, one policy set, one `now`. Everything that is not `true` is a denial (law L3).

use std::panic::{AssertUnwindSafe, catch_unwind};

use sekisho_rego::builtins::{Context, lookup};
use sekisho_rego::decision::{Found, Truth};
use sekisho_rego::value::Value;
use sekisho_rego::{Coverage, Document, EvalCode, EvalError};
use sekisho_types::{Effect, UnixTime};

use crate::context;
use crate::input::RequestInput;
use crate::load::PolicySet;
use crate::lower::{FactCache, Facts};
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

/// A decision as it is made: nothing in it is rendered, and it is a few words in size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub effect: Effect,
    /// Set when evaluating failed; the effect is then a denial.
    pub error: Option<String>,
    /// The number of the body that allowed, or of the nearest one.
    rule: Option<u32>,
}

impl Judgement {
    /// A denial that no policy made.
    pub const fn refused(error: String) -> Self {
        Self { effect: Effect::Deny, error: Some(error), rule: None }
    }
}

impl PolicySet {
    /// Decides `request` at `now`, and explains it: [`Self::judge`] and [`Self::explain`].
    pub fn decide(&self, request: &RequestInput, now: UnixTime) -> Decision {
        self.explain(self.judge(request, now), request, now)
    }

    /// Decides `request` at `now`: each rule by the lowering if it covers the rule completely, else by the engine.
    /// Where the lowering covers all of them, nothing is allocated.
    pub fn judge(&self, request: &RequestInput, now: UnixTime) -> Judgement {
        let judged = self.lowered.judged(request, now);
        let found = context::with_scratch(|scratch| self.lowered.table.judge(&judged, scratch));
        drop(judged);
        match found {
            Some(found) => self.judge_found(found, request, now),
            // A condition that may be an error: one by one, and by the engine.
            None => self.judge_facts(request, || request.to_value(now), now),
        }
    }

    fn judge_found(&self, found: Found, request: &RequestInput, now: UnixTime) -> Judgement {
        let verdict = self.lowered.apart.then_some(found.allows);
        let result = match verdict {
            Some(allowed) if self.lowered.is_complete() => Ok(allowed),
            _ => {
                let mut context = context::take(now);
                let result = self.with_engine(verdict, &request.to_value(now), &mut context);
                context::keep(&mut context);
                result
            }
        };
        let (effect, error) = effect_of(result);
        Judgement { effect, error, rule: if effect.is_allow() { found.met } else { found.nearest } }
    }

    /// What a judgement on `request` at `now` says, in words.
    pub fn explain(&self, judgement: Judgement, request: &RequestInput, now: UnixTime) -> Decision {
        self.explained(&self.lowered.facts(request, now), judgement)
    }

    /// The place of the body that allowed, or of the nearest one: its file and line.
    pub fn place<'a>(&'a self, judgement: &Judgement) -> Option<(&'a str, u32)> {
        let rule = self.lowered.rules.get(judgement.rule? as usize)?;
        Some((self.lowered.file(rule), rule.line))
    }

    /// The same as [`Self::decide`], always by the engine: the reference for the lowering.
    pub fn decide_by_engine(&self, request: &RequestInput, now: UnixTime) -> Decision {
        let facts = self.lowered.memo(request, now);
        let result = self.by_engine(&request.to_value(now), &mut facts.context.borrow_mut());
        self.explained(&facts, self.judgement(&facts, result))
    }

    pub(crate) fn decide_value(&self, input: &Value, now: UnixTime) -> Decision {
        let judgement = self.judge_facts(input, || input.clone(), now);
        self.explained(&self.lowered.facts(input, now), judgement)
    }

    /// Rule by rule.
    fn judge_facts(&self, facts: &impl Facts, input: impl Fn() -> Value, now: UnixTime) -> Judgement {
        let facts = self.lowered.memo(facts, now);
        let result = match self.verdict(&facts) {
            Some(allowed) if self.lowered.is_complete() => Ok(allowed),
            verdict => self.with_engine(verdict, &input(), &mut facts.context.borrow_mut()),
        };
        self.judgement(&facts, result)
    }

    /// What the engine adds to what the lowering decided.
    fn with_engine(&self, verdict: Option<bool>, input: &Value, context: &mut Context) -> Result<bool, String> {
        let (Some(allowed), Some(rest)) = (verdict, &self.rest) else { return self.by_engine(input, context) };
        match run(rest, input, context, None) {
            Ok(None) => Ok(allowed),
            Ok(Some(Value::Bool(true))) => Ok(true),
            Ok(_) if !allowed => Ok(false),
            // Two rules with different values: the engine reports their lines.
            Ok(_) => self.by_engine(input, context),
            Err(error) => Err(error),
        }
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
            for stated in self.lowered.stated(rule) {
                match self.lowered.truth(stated, facts) {
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

    fn judgement(&self, facts: &FactCache<'_, impl Facts>, result: Result<bool, String>) -> Judgement {
        let (effect, error) = effect_of(result);
        Judgement { effect, error, rule: self.rule_to_explain(facts, effect) }
    }

    fn explained(&self, facts: &FactCache<'_, impl Facts>, judgement: Judgement) -> Decision {
        let rule = judgement.rule.and_then(|rule| self.outcome(rule, facts));
        Decision { effect: judgement.effect, rule, error: judgement.error }
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
            return self.explained(&facts, self.judgement(&facts, Ok(allowed)));
        }
        let mut context = context::take(now);
        context.answers = Some(oracle.answers_of_builtins());
        let value = match &self.entry {
            Some(entry) => run(entry, &request.to_value(now), &mut context, coverage),
            None => Ok(None),
        };
        context::keep(&mut context);
        let result = value.map(|value| value == Some(Value::Bool(true)));
        self.explained(&facts, self.judgement(&facts, result))
    }

    /// The body that allowed, or the nearest one, rule by rule.
    fn rule_to_explain(&self, facts: &FactCache<'_, impl Facts>, effect: Effect) -> Option<u32> {
        let mut best: Option<((usize, usize), u32)> = None;
        for (number, rule) in (0_u32..).zip(&self.lowered.rules) {
            let (mut unmet, mut unknown) = (0, 0);
            for stated in self.lowered.stated(rule) {
                match self.lowered.truth(stated, facts) {
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
                best = Some((worth, number));
                if effect.is_allow() && unknown == 0 {
                    break;
                }
            }
        }
        best.map(|(_, rule)| rule)
    }

    fn outcome(&self, rule: u32, facts: &FactCache<'_, impl Facts>) -> Option<RuleOutcome> {
        let rule = self.lowered.rules.get(rule as usize)?;
        let file = self.lowered.file(rule).to_owned();
        let mut out = RuleOutcome { file, line: rule.line, unmet: vec![], unknown: 0 };
        for stated in self.lowered.stated(rule) {
            match self.lowered.truth(stated, facts) {
                Truth::Met => {}
                Truth::Unknown => out.unknown += 1,
                Truth::Unmet => out.unmet.push(Unmet {
                    line: stated.line,
                    condition: self.lowered.text(rule, stated),
                    found: self.lowered.condition(stated).found(facts).map(|value| value.to_json()),
                }),
            }
        }
        Some(out)
    }
}

/// Everything that is not `true` is a denial (law L3).
fn effect_of(result: Result<bool, String>) -> (Effect, Option<String>) {
    match result {
        Ok(true) => (Effect::Allow, None),
        Ok(false) => (Effect::Deny, None),
        Err(error) => (Effect::Deny, Some(error)),
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
