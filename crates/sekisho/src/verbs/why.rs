use std::fmt::Write as _;

use clap::Args;
use sekisho_proto::node::{WhyIdentityRequest, inspect_client::InspectClient};
use sekisho_proto::selectors_to_wire;
use sekisho_sdk::agent_channel;
use sekisho_types::Selector;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, text};
use crate::rest::Rest;

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

/// Asks the agent why a process, or these selectors, have an identity or have none.
pub(crate) async fn identity(global: &Global, pid: Option<i32>, selectors: &[String]) -> Result<Value, Failure> {
    let parsed = selectors.iter().map(|text| Selector::parse(text)).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|e| Failure::new(Exit::Usage, e))?;
    if pid.is_none() && parsed.is_empty() {
        return Err(Failure::new(Exit::Usage, "`why identity` needs `--pid` or `--selectors`"));
    }
    let socket = global.agent_socket();
    let request = WhyIdentityRequest { pid: pid.unwrap_or(0), selectors: selectors_to_wire(&parsed) };
    let answer = InspectClient::new(agent_channel(&socket)).why_identity(request).await;
    let answer = answer.map_err(|status| Failure::status(&socket, &status))?.into_inner();
    let selector = |s: &sekisho_proto::types::Selector| format!("{}:{}", s.r#type, s.value);
    let entry = |entry: &sekisho_proto::types::Entry| {
        let id = entry.spiffe_id.clone().unwrap_or_default();
        json!({
            "id": entry.id,
            "spiffe_id": format!("spiffe://{}{}", id.trust_domain, id.path),
            "selectors": entry.selectors.iter().map(selector).collect::<Vec<_>>(),
        })
    };
    let differences: Vec<Value> =
        answer.differences.iter().map(|d| json!({"wants": d.wants, "found": d.found})).collect();
    let nearest = answer.nearest.as_ref().map(entry);
    let fix = nearest.as_ref().map(|nearest| identity_fix(nearest, &differences, answer.nearest_expired));
    Ok(json!({
        "selectors": answer.selectors.iter().map(selector).collect::<Vec<_>>(),
        "matched": answer.matched.iter().map(entry).collect::<Vec<_>>(),
        "nearest": nearest,
        "nearest_expired": answer.nearest_expired,
        "differences": differences,
        "fix": fix,
    }))
}

/// The command that would make the nearest entry match. Whether it should be given is the operator's to judge.
fn identity_fix(nearest: &Value, differences: &[Value], expired: bool) -> String {
    let id = text(nearest, "/id");
    if expired && differences.is_empty() {
        return format!("sekisho entry update {id} --expires-at 0");
    }
    let replaced = |wanted: &str| {
        let difference = differences.iter().find(|d| text(d, "/wants") == wanted);
        match difference {
            None => Some(wanted.to_owned()),
            Some(d) => d.pointer("/found/0").and_then(Value::as_str).map(str::to_owned),
        }
    };
    let selectors = nearest.get("selectors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let flags: Vec<String> = selectors.filter_map(replaced).map(|selector| format!("--selector {selector}")).collect();
    format!("sekisho entry update {id} {}", flags.join(" "))
}

fn identity_text(answer: &Value) -> String {
    let mut out = String::new();
    let matched = answer.get("matched").and_then(Value::as_array).cloned().unwrap_or_default();
    for entry in &matched {
        let _infallible = writeln!(out, "matched: entry {} gives {}", text(entry, "/id"), text(entry, "/spiffe_id"));
    }
    if matched.is_empty() {
        match answer.get("nearest").filter(|nearest| !nearest.is_null()) {
            None => out.push_str("no entry of this node shares any selector with the process\n"),
            Some(nearest) => {
                let expired = answer.get("nearest_expired").and_then(Value::as_bool) == Some(true);
                let note = if expired { " (expired)" } else { "" };
                let _infallible = writeln!(
                    out,
                    "no entry matches; nearest: {} for {}{note}",
                    text(nearest, "/id"),
                    text(nearest, "/spiffe_id")
                );
                difference_lines(&mut out, answer.get("differences"));
            }
        }
    }
    let selectors = answer.get("selectors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let _infallible = writeln!(out, "found on the process:\n  {}", selectors.collect::<Vec<_>>().join("\n  "));
    if let Some(fix) = answer.get("fix").and_then(Value::as_str) {
        let _infallible = writeln!(out, "if that is as it should be:\n  {fix}");
    }
    out
}

fn difference_lines(out: &mut String, differences: Option<&Value>) {
    for difference in differences.and_then(Value::as_array).into_iter().flatten() {
        let wants = text(difference, "/wants");
        let property = Selector::parse(wants).map(|s| s.property()).unwrap_or_default();
        let found: Vec<&str> =
            difference.get("found").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let found = if found.is_empty() { "nothing of the kind".to_owned() } else { found.join(", ") };
        let _infallible = writeln!(out, "  {property} differs\n    wanted: {wants}\n    found:  {found}");
    }
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
        "{} {} /{} from {} to {}\n{}policy revision {}\nif that is not as it should be:\n  {}\nproof: sekisho prove {}\n",
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

/// What would change a decision.
fn fix(record: &Value) -> String {
    let condition = record.pointer("/rule/unmet/0/condition").and_then(Value::as_str).unwrap_or_default();
    if condition.contains("hw_attested") {
        return "attest the node by hardware; until then, change the condition and run `sekisho policy apply <folder>`"
            .into();
    }
    if condition.contains("issued_at") {
        return "the caller's SVID is too old: `sekisho doctor` on its node says why it was not renewed".into();
    }
    "edit the rule, run `sekisho policy check <folder>`, then `sekisho policy apply <folder>`".into()
}
