//! `why`: the reasons behind an identity, a decision or a refusal.

mod identity;

use std::fmt::Write as _;

use clap::Args;
use sekisho_api::{DecisionForm, Record, Rule, Unmet};
use sekisho_policy::RuleOutcome;
use serde::Serialize;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::print;
use crate::rest::Rest;

use identity::difference_lines;
pub(crate) use identity::identity;

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// `identity`, or the id of a decision (`dec_…`) or refusal (`ref_…`)
    what: String,
    /// With `identity`: the process
    #[arg(long, env = "SEKISHO_PID")]
    pid: Option<i32>,
    /// With `identity`: selectors in place of a process
    #[arg(long, env = "SEKISHO_SELECTORS", value_delimiter = ',', conflicts_with = "pid")]
    selectors: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: WhyArgs) -> Result<Exit, Failure> {
    if args.what == "identity" {
        let answer = identity(global, args.pid, &args.selectors).await?;
        print(global.output, &answer, || answer.text())?;
        return Ok(if answer.matched.is_empty() { Exit::Denied } else { Exit::Ok });
    }
    let found: DecisionForm = Rest::new(&global.server_socket()).get(&format!("/v1/decisions/{}", args.what)).await?;
    let record =
        found.read().map_err(|e| Failure::failed(format!("{}: the record is of another version: {e}", found.id)))?;
    let fix = fix(&record);
    let shown = Shown { record: &found.record, log_index: found.log_index, fix };
    print(global.output, &shown, || record_text(&record, fix))?;
    Ok(if found.effect == "allow" { Exit::Ok } else { Exit::Denied })
}

/// A record with what is known besides.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    record: &'a serde_json::Value,
    log_index: u64,
    fix: &'static str,
}

/// What a record says, for people.
fn record_text(record: &Record, fix: &str) -> String {
    match record {
        Record::Refusal(refusal) => {
            let mut out = format!("refused: {}\n", refusal.what);
            if let Some(nearest) = &refusal.nearest {
                let _infallible = writeln!(out, "nearest: {} for {}", nearest.entry, nearest.spiffe_id);
                difference_lines(&mut out, &nearest.differences);
            }
            let _infallible = writeln!(out, "proof: sekisho prove {}", refusal.id);
            out
        }
        Record::Decision(decision) => {
            let input = &decision.input;
            format!(
                "{} {} {} from {} to {}\n{}policy revision {}\nwhat can be done:\n  {fix}\nproof: sekisho prove {}\n",
                decision.effect,
                input.method,
                input.joined_path(),
                input.subject.spiffe_id,
                input.destination,
                decision_text(decision.error.as_deref(), decision.rule.as_ref().map(ShownRule::from).as_ref()),
                decision.policy_revision,
                decision.id,
            )
        }
    }
}

/// The rule that decided or came nearest, as it is shown.
#[derive(Serialize)]
pub(crate) struct ShownRule {
    place: String,
    unmet: Vec<Unmet>,
    unknown: u64,
}

impl From<&Rule> for ShownRule {
    fn from(rule: &Rule) -> Self {
        Self { place: rule.place(), unmet: rule.unmet.clone(), unknown: rule.unknown }
    }
}

impl From<&RuleOutcome> for ShownRule {
    fn from(rule: &RuleOutcome) -> Self {
        let unmet = |unmet: &sekisho_policy::Unmet| Unmet {
            line: unmet.line,
            condition: unmet.condition.clone(),
            found: unmet.found.clone(),
        };
        Self { place: rule.place(), unmet: rule.unmet.iter().map(unmet).collect(), unknown: rule.unknown as u64 }
    }
}

/// The rule and its unmet conditions.
pub(crate) fn decision_text(error: Option<&str>, rule: Option<&ShownRule>) -> String {
    let mut out = String::new();
    if let Some(error) = error {
        let _infallible = writeln!(out, "the policy failed, which denies: {error}");
    }
    let Some(rule) = rule else {
        return out + "no rule could be named\n";
    };
    let nearest = if rule.unmet.is_empty() { "rule" } else { "nearest rule" };
    let _infallible = writeln!(out, "{nearest}: {}", rule.place);
    for Unmet { line, condition, found } in &rule.unmet {
        let found = found.as_deref().unwrap_or("nothing");
        let _infallible = writeln!(out, "  line {line}: `{condition}` does not hold; found {found}");
    }
    if rule.unknown > 0 {
        out.push_str("  and conditions that cannot be explained one by one\n");
    }
    out
}

/// What to do about a denial. It never tells to make a rule weaker (law L16).
fn fix(record: &Record) -> &'static str {
    let rule = match record {
        Record::Decision(decision) => decision.rule.as_ref(),
        Record::Refusal(_) => None,
    };
    let condition = rule.and_then(|rule| rule.unmet.first()).map_or("", |unmet| unmet.condition.as_str());
    if condition.contains("hw_attested") {
        return "the rule asks for hardware: attest the node of the caller by hardware";
    }
    if condition.contains("issued_at") {
        return "the caller's SVID is too old: `sekisho doctor` on its node says why it was not renewed";
    }
    "send a request that meets the rule; `sekisho policy replay <folder>` shows whose requests another rule would decide differently"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l16_a_denial_is_never_answered_with_a_weaker_rule() {
        for condition in
            ["input.subject.claims.hw_attested == true", "input.subject.issued_at > 5", "input.method == \"GET\""]
        {
            let record = serde_json::json!({
                "kind": "decision", "id": "dec_1", "effect": "deny", "policy_revision": 1, "error": null,
                "input": {"method": "GET", "path": [], "destination": "", "subject": {"spiffe_id": ""}},
                "rule": {"file": "a", "line": 1, "unknown": 0, "unmet": [{"line": 2, "condition": condition, "found": null}]},
            });
            let said = fix(&serde_json::from_value(record).unwrap());
            for weaker in ["change the condition", "edit the rule", "remove", "policy apply", "--danger"] {
                assert!(!said.contains(weaker), "{condition}: {said}");
            }
        }
    }
}
