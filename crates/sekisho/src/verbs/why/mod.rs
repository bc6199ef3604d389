//! `why`: the reasons behind an identity, a decision or a refusal.

mod identity;

use std::fmt::Write as _;

use clap::Args;
use sekisho_api::DecisionForm;
use sekisho_events::{CallRefused, Decided, NodeEvent, PeerRefused, RecordClass};
use sekisho_policy::{Decision, Recorded, RequestInput, RuleOutcome, Unmet};
use serde::Serialize;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{print, printable};
use crate::rest::Rest;

use identity::{AdviceShown, advice_lines, difference_lines};
pub(crate) use identity::{DifferenceShown, identity};

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// `identity`, or the id of a decision (`dec_…`) or refusal (`ref_…`), or a unique prefix of it
    #[arg(add = complete::records())]
    what: String,
    /// With `identity`: the number (PID) of the process
    #[arg(long, env = "SEKISHO_PID")]
    pid: Option<i32>,
    /// With `identity`: selectors instead of a process
    #[arg(long, env = "SEKISHO_SELECTORS", value_delimiter = ',', conflicts_with = "pid")]
    selectors: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: WhyArgs) -> Result<Exit, Failure> {
    if args.what == "identity" {
        let answer = identity(global, args.pid, &args.selectors).await?;
        print(global.output, &answer, || answer.text())?;
        return Ok(if answer.matched.is_empty() { Exit::Denied } else { Exit::Ok });
    }
    let rest = Rest::of(global);
    let found = ids::record(&rest, &args.what).await?;
    explain(global, &rest, &found).await
}

/// Prints a record and what can be done; the exit code says whether it allows.
pub(crate) async fn explain(global: &Global, rest: &Rest, found: &DecisionForm) -> Result<Exit, Failure> {
    let event = found.read().map_err(|e| Failure::failed(format!("{}: {e}", found.id)))?;
    let advice = match &event {
        NodeEvent::Decided(decided) => vec![AdviceShown::without_command(fix(decided))],
        NodeEvent::NoIdentity(refused) => identity::advice_after_refusal(rest, refused).await,
        NodeEvent::PeerRefused(_) | NodeEvent::CallRefused(_) => vec![],
    };
    let shown = Shown { record: &found.record, log_index: found.log_index, advice: &advice };
    print(global.output, &shown, || record_text(&event, &advice))?;
    Ok(if event.class() == RecordClass::Allow { Exit::Ok } else { Exit::Denied })
}

/// A record with what is known besides.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    record: &'a serde_json::Value,
    log_index: u64,
    advice: &'a [AdviceShown],
}

/// What a record says, for people.
fn record_text(event: &NodeEvent, advice: &[AdviceShown]) -> String {
    let proof = format!("proof: sekisho prove {}\n", event.id());
    let mut out = match event {
        NodeEvent::Decided(decided) => decided_text(&decided.recorded),
        NodeEvent::NoIdentity(refused) => {
            let mut out = format!("refused: {}\n", printable(&refused.what));
            if let Some(nearest) = &refused.nearest {
                let _infallible = writeln!(out, "nearest: {} for {}", nearest.entry, nearest.spiffe_id);
                let differences: Vec<_> = nearest.differences.iter().map(DifferenceShown::of).collect();
                difference_lines(&mut out, &differences);
            }
            out
        }
        NodeEvent::PeerRefused(PeerRefused { what, peer, reason, .. }) => {
            format!("refused: {} of {}: {}\n", printable(what), printable(peer), printable(reason))
        }
        NodeEvent::CallRefused(CallRefused { what, .. }) => format!("refused: {}\n", printable(what)),
    };
    advice_lines(&mut out, advice);
    out + &proof
}

fn decided_text(recorded: &Recorded) -> String {
    let RequestInput { method, subject, destination, .. } = &*recorded.request;
    let (effect, path) = (recorded.decision.effect.as_str(), printable(&recorded.request.joined_path()));
    let asked = format!("{} {path} from {} to {destination}", printable(method), subject.spiffe_id);
    let (decision, revision) = (decision_text(&recorded.decision), recorded.policy_revision);
    format!("{effect} {asked}\n{decision}policy revision {revision}\n")
}

/// The rule that decided or came nearest, as programs are shown it.
#[derive(Serialize)]
pub(crate) struct ShownRule {
    place: String,
    unmet: Vec<ShownUnmet>,
    unknown: usize,
}

#[derive(Serialize)]
struct ShownUnmet {
    line: u32,
    condition: String,
    found: Option<String>,
}

impl From<&RuleOutcome> for ShownRule {
    fn from(rule: &RuleOutcome) -> Self {
        let unmet = |unmet: &Unmet| ShownUnmet {
            line: unmet.line,
            condition: unmet.condition.clone(),
            found: unmet.found.clone(),
        };
        Self { place: rule.place(), unmet: rule.unmet.iter().map(unmet).collect(), unknown: rule.unknown }
    }
}

/// The rule and its unmet conditions.
pub(crate) fn decision_text(decision: &Decision) -> String {
    let mut out = String::new();
    if let Some(error) = &decision.error {
        let _infallible = writeln!(out, "the policy failed, which denies: {}", printable(error));
    }
    let Some(rule) = &decision.rule else { return out + "no rule could be named\n" };
    let nearest = if rule.unmet.is_empty() { "rule" } else { "nearest rule" };
    let _infallible = writeln!(out, "{nearest}: {}", rule.place());
    for Unmet { line, condition, found } in &rule.unmet {
        let found = found.as_deref().unwrap_or("nothing");
        let _infallible = writeln!(out, "  line {line}: `{condition}` does not hold; found {found}");
    }
    if rule.unknown > 0 {
        out.push_str("  and conditions that cannot be explained one by one\n");
    }
    out
}

/// What to do about a denial. It never advises to weaken a rule (law L16).
fn fix(decided: &Decided) -> &'static str {
    if decided.recorded.policy_revision == 0 {
        return "no policy was in force, which denies every request: `sekisho policy apply <folder>`, or start the \
            server with `--policy-folder`";
    }
    let unmet = decided.recorded.decision.rule.as_ref().and_then(|rule| rule.unmet.first());
    let condition = unmet.map(|unmet| unmet.condition.as_str()).unwrap_or_default();
    if condition.contains("hw_attested") {
        return "the rule asks for hardware: attest the node of the caller by hardware";
    }
    if condition.contains("issued_at") {
        return "the caller's SVID is too old: `sekisho doctor` on its node says why it was not renewed";
    }
    "send a request that meets the rule; `sekisho policy replay <folder>` shows whose requests another rule would \
        decide differently"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A denial because `condition` was not met, of a path that a terminal would obey.
    fn denied(condition: &str) -> Box<Decided> {
        let rule = serde_json::json!({"file": "a.rego", "line": 5, "unknown": 0, "unmet": [
            {"condition": condition, "found": "false", "line": 7}]});
        let subject = serde_json::json!({"claims": {}, "issued_at": 5, "spiffe_id": "spiffe://td/a"});
        let input = serde_json::json!({"destination": "spiffe://td/b", "headers": {}, "method": "GET",
            "path": ["v1", "\u{1b}[2J"], "query": "", "request_id": "r", "subject": subject});
        let record = serde_json::json!({"at_ms": 5, "effect": "deny", "error": null, "facts": {},
            "id": "dec_00000000000500112233445566778899", "input": input, "kind": "decision", "latency_us": 1,
            "now_ns": 5_000_000, "policy_digest": null, "policy_revision": 3, "rule": rule,
            "span_id": "00".repeat(8), "trace_id": "00".repeat(16)});
        match NodeEvent::from_json(&record).unwrap() {
            NodeEvent::Decided(decided) => decided,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn law_l16_why_proposes_no_weaker_rule() {
        for condition in
            ["input.subject.claims.hw_attested == true", "input.subject.issued_at > 5", "input.method == \"GET\""]
        {
            let said = fix(&denied(condition));
            for weaker in ["change the condition", "edit the rule", "remove", "policy apply", "--danger"] {
                assert!(!said.contains(weaker), "{condition}: {said}");
            }
        }
    }

    #[test]
    fn a_record_is_explained_without_controlling_the_terminal() {
        let decided = denied("input.method == \"PUT\"");
        let advice = [AdviceShown::without_command(fix(&decided))];
        let shown = record_text(&NodeEvent::Decided(decided), &advice);
        assert!(shown.starts_with("deny GET /v1/\\u{1b}[2J from spiffe://td/a to spiffe://td/b\n"), "{shown:?}");
        assert!(
            shown.contains("nearest rule: a.rego:5\n  line 7: `input.method == \"PUT\"` does not hold; found false\n")
        );
        assert!(shown.ends_with("proof: sekisho prove dec_00000000000500112233445566778899\n"), "{shown}");
    }
}
