//! Deciding: one request, one policy set, one `now`. Everything that is not `true` is a denial (law L3).

use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Value;
use sekisho_types::{Effect, UnixTime};

use crate::load::{ENTRY_RULE, PolicySet};
use crate::lower::{LoweredRule, Truth};
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
    /// Decides `request` at `now`.
    pub fn decide(&self, request: &RequestInput, now: UnixTime) -> Decision {
        self.decide_value(&request.to_value(now), now)
    }

    pub(crate) fn decide_value(&self, input: &Value, now: UnixTime) -> Decision {
        // The engine is large and not ours: a panic in it is one request's denial (law L9).
        let caught = catch_unwind(AssertUnwindSafe(|| self.evaluate(input, now)));
        let result = caught.unwrap_or_else(|_| Err("the policy engine panicked".to_owned()));
        let (effect, error) = match result {
            Ok(true) => (Effect::Allow, None),
            Ok(false) => (Effect::Deny, None),
            Err(error) => (Effect::Deny, Some(error)),
        };
        Decision { effect, rule: self.explain(input, now, effect), error }
    }

    fn evaluate(&self, input: &Value, now: UnixTime) -> Result<bool, String> {
        let mut engine = self.engine.clone();
        builtins::bind(&mut engine, now)?;
        engine.set_input(input.clone());
        let value = engine.eval_rule(ENTRY_RULE.to_owned()).map_err(|e| last_line(&e.to_string()))?;
        Ok(value == Value::from(true))
    }

    /// Names the body that allowed, or the one with the fewest unmet conditions.
    fn explain(&self, input: &Value, now: UnixTime, effect: Effect) -> Option<RuleOutcome> {
        let outcomes = self.rules.iter().map(|rule| outcome(rule, input, now));
        match effect {
            Effect::Allow => outcomes.filter(|outcome| outcome.unmet.is_empty()).min_by_key(|outcome| outcome.unknown),
            Effect::Deny => outcomes.min_by_key(|outcome| outcome.unmet.len()),
        }
    }
}

fn outcome(rule: &LoweredRule, input: &Value, now: UnixTime) -> RuleOutcome {
    let mut out = RuleOutcome { file: rule.file.clone(), line: rule.line, unmet: vec![], unknown: 0 };
    for stated in &rule.conditions {
        match stated.condition.truth(input, now) {
            Truth::Met => {}
            Truth::Unknown => out.unknown += 1,
            Truth::Unmet(found) => out.unmet.push(Unmet {
                line: stated.line,
                condition: stated.text.clone(),
                found: found.and_then(|value| value.to_json_str().ok()),
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
