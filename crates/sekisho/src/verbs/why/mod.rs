//! `why`: the reasons behind an identity, a decision or a refusal.

mod identity;

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, text};
use crate::rest::Rest;

pub(crate) use identity::identity;
use identity::{difference_lines, identity_text};

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
        let matched = answer.get("matched").and_then(Value::as_array).is_some_and(|matched| !matched.is_empty());
        print(global.output, &answer, || identity_text(&answer))?;
        return Ok(if matched { Exit::Ok } else { Exit::Denied });
    }
    let found = Rest::new(&global.server_socket()).get(&format!("/v1/decisions/{}", args.what)).await?;
    let record = found.get("record").cloned().unwrap_or_default();
    let allowed = text(&record, "/effect") == "allow";
    let mut shown = record.clone();
    if let Some(members) = shown.as_object_mut() {
        members.insert("log_index".into(), found.get("log_index").cloned().unwrap_or_default());
        members.insert("fix".into(), fix(&record).into());
    }
    print(global.output, &shown, || record_text(&shown))?;
    Ok(if allowed { Exit::Ok } else { Exit::Denied })
}

/// What a record says, for people.
fn record_text(record: &Value) -> String {
    if text(record, "/kind") == "refusal" {
        let mut out = format!("refused: {}\n", text(record, "/what"));
        let nearest = record.get("nearest").filter(|nearest| !nearest.is_null());
        if let Some(nearest) = nearest {
            let _infallible = writeln!(out, "nearest: {} for {}", text(nearest, "/entry"), text(nearest, "/spiffe_id"));
            difference_lines(&mut out, nearest.get("differences"));
        }
        let _infallible = writeln!(out, "proof: sekisho prove {}", text(record, "/id"));
        return out;
    }
    let input = record.get("input").cloned().unwrap_or_default();
    let path: Vec<&str> =
        input.get("path").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "{} {} /{} from {} to {}\n{}policy revision {}\nwhat can be done:\n  {}\nproof: sekisho prove {}\n",
        text(record, "/effect"),
        text(&input, "/method"),
        path.join("/"),
        text(&input, "/subject/spiffe_id"),
        text(&input, "/destination"),
        decision_text(record),
        record.get("policy_revision").unwrap_or(&Value::Null),
        text(record, "/fix"),
        text(record, "/id"),
    )
}

/// The rule and its unmet conditions.
pub(crate) fn decision_text(record: &Value) -> String {
    let mut out = String::new();
    if let Some(error) = record.get("error").and_then(Value::as_str) {
        let _infallible = writeln!(out, "the policy failed, which denies: {error}");
    }
    let Some(rule) = record.get("rule").filter(|rule| !rule.is_null()) else {
        return out + "no rule could be named\n";
    };
    let place = match rule.get("place").and_then(Value::as_str) {
        Some(place) => place.to_owned(),
        None => format!("{}:{}", text(rule, "/file"), rule.get("line").unwrap_or(&Value::Null)),
    };
    let unmet = rule.get("unmet").and_then(Value::as_array).cloned().unwrap_or_default();
    let nearest = if unmet.is_empty() { "rule" } else { "nearest rule" };
    let _infallible = writeln!(out, "{nearest}: {place}");
    for condition in &unmet {
        let found = condition.get("found").and_then(Value::as_str).unwrap_or("nothing");
        let line = condition.get("line").unwrap_or(&Value::Null);
        let _infallible =
            writeln!(out, "  line {line}: `{}` does not hold; found {found}", text(condition, "/condition"));
    }
    if rule.get("unknown").and_then(Value::as_u64).is_some_and(|unknown| unknown > 0) {
        out.push_str("  and conditions that cannot be explained one by one\n");
    }
    out
}

/// What to do about a denial. It never tells to make a rule weaker (law L16).
fn fix(record: &Value) -> String {
    let condition = record.pointer("/rule/unmet/0/condition").and_then(Value::as_str).unwrap_or_default();
    if condition.contains("hw_attested") {
        return "the rule asks for hardware: attest the node of the caller by hardware".into();
    }
    if condition.contains("issued_at") {
        return "the caller's SVID is too old: `sekisho doctor` on its node says why it was not renewed".into();
    }
    "send a request that meets the rule; `sekisho policy replay <folder>` shows whose requests another rule would decide differently".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l16_a_denial_is_never_answered_with_a_weaker_rule() {
        for condition in
            ["input.subject.claims.hw_attested == true", "input.subject.issued_at > 5", "input.method == \"GET\""]
        {
            let said = fix(&serde_json::json!({"rule": {"unmet": [{"condition": condition}]}}));
            for weaker in ["change the condition", "edit the rule", "remove", "policy apply", "--danger"] {
                assert!(!said.contains(weaker), "{condition}: {said}");
            }
        }
    }
}
