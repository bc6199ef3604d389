//! Deciding: one request, one policy set, one `now`. Everything that is not `true` is a denial (law L3).

use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Value;
use sekisho_types::{Effect, UnixTime};

use crate::load::{ENTRY_RULE, PolicySet};
use crate::lower::{Facts, LoweredRule, Truth};
use crate::{RequestInput, builtins};

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    pub line: u32,
    /// The condition as the policy's author wrote it.
    pub condition: String,
    /// What was found instead, as JSON; `None` when it was missing or cannot be shown.
    pub found: Option<String>,
}

/// How one body of the entry rule fared.
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
    /// The body that allowed, or the one that came nearest to it.
    pub rule: Option<RuleOutcome>,
    /// Set when evaluating failed; the effect is then a denial.
    pub error: Option<String>,
}

impl PolicySet {
    /// Decides `request` at `now`: by the lowering where that says it all, else by the engine.
    pub fn decide(&self, request: &RequestInput, now: UnixTime) -> Decision {
        self.decide_facts(request, || request.to_value(now), now)
    }

    /// The same, always by the engine: what the lowering is held against.
    pub fn decide_by_engine(&self, request: &RequestInput, now: UnixTime) -> Decision {
        self.explained(request, self.by_engine(request.to_value(now), now), &self.survey(request, now), now)
    }

    pub(crate) fn decide_value(&self, input: &Value, now: UnixTime) -> Decision {
        self.decide_facts(input, || input.clone(), now)
    }

    fn decide_facts(&self, facts: &impl Facts, input: impl FnOnce() -> Value, now: UnixTime) -> Decision {
        let survey = self.survey(facts, now);
        let result = match survey.verdict.filter(|_| self.lowered.complete) {
            Some(allowed) => Ok(allowed),
            None => self.by_engine(input(), now),
        };
        self.explained(facts, result, &survey, now)
    }

    fn explained(&self, facts: &impl Facts, result: Result<bool, String>, survey: &Survey, now: UnixTime) -> Decision {
        let (effect, error) = match result {
            Ok(true) => (Effect::Allow, None),
            Ok(false) => (Effect::Deny, None),
            Err(error) => (Effect::Deny, Some(error)),
        };
        let rule = if effect.is_allow() { survey.allows } else { survey.nearest };
        let rule = rule.and_then(|at| self.lowered.rules.get(at)).map(|rule| outcome(rule, facts, now));
        Decision { effect, rule, error }
    }

    fn by_engine(&self, input: Value, now: UnixTime) -> Result<bool, String> {
        let evaluate = || {
            let mut engine = self.engine.clone();
            builtins::bind_clock(&mut engine, now)?;
            engine.set_input(input);
            let value = engine.eval_rule(ENTRY_RULE.to_owned()).map_err(|e| last_line(&e.to_string()))?;
            Ok(value == Value::from(true))
        };
        // The engine is large and not ours: a panic in it is one request's denial (law L9).
        catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| Err("the policy engine panicked".to_owned()))
    }

    /// How the bodies of the entry rule fare: which allows, which comes nearest.
    fn survey(&self, facts: &impl Facts, now: UnixTime) -> Survey {
        let mut survey = Survey { verdict: Some(false), allows: None, nearest: None };
        let (mut fewest_unknown, mut fewest_unmet) = (usize::MAX, usize::MAX);
        for (at, rule) in self.lowered.rules.iter().enumerate() {
            let (mut unmet, mut unknown) = (0, 0);
            for stated in &rule.conditions {
                match stated.condition.truth(facts, now) {
                    Truth::Met => {}
                    Truth::Unmet => unmet += 1,
                    Truth::Unknown => unknown += 1,
                }
            }
            if unmet == 0 && unknown < fewest_unknown {
                (survey.allows, fewest_unknown) = (Some(at), unknown);
            }
            if unmet < fewest_unmet {
                (survey.nearest, fewest_unmet) = (Some(at), unmet);
            }
            // One body that may err may deny them all.
            survey.verdict = survey.verdict.filter(|_| unknown == 0).map(|allowed| allowed || unmet == 0);
        }
        survey
    }
}

struct Survey {
    /// Whether some body allows; `None` when one of them cannot be told.
    verdict: Option<bool>,
    allows: Option<usize>,
    nearest: Option<usize>,
}

fn outcome(rule: &LoweredRule, facts: &impl Facts, now: UnixTime) -> RuleOutcome {
    let mut out = RuleOutcome { file: rule.file.clone(), line: rule.line, unmet: vec![], unknown: 0 };
    for stated in &rule.conditions {
        match stated.condition.truth(facts, now) {
            Truth::Met => {}
            Truth::Unknown => out.unknown += 1,
            Truth::Unmet => out.unmet.push(Unmet {
                line: stated.line,
                condition: stated.text.clone(),
                found: stated.condition.found(facts, now).and_then(|value| value.to_json_str().ok()),
            }),
        }
    }
    out
}

fn last_line(message: &str) -> String {
    message.rsplit("error: ").next().unwrap_or(message).trim().to_owned()
}

#[cfg(test)]
mod tests;
