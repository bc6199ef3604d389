use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use sekisho_policy::{PolicySet, RequestInput};
use sekisho_types::UnixTime;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, table, text};
use crate::rest::Rest;

/// Decisions on one page.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Folder with the other policy's `.rego` files
    folder: PathBuf,
    /// How many of the newest decisions are decided again
    #[arg(long, env = "SEKISHO_REPLAY_LAST", default_value_t = 10_000)]
    last: usize,
}

/// One kind of difference: who, by which rule, from what to what.
type Difference = (String, String, String, String);

#[derive(Default)]
struct Tally {
    same: u64,
    /// They come out differently, and header or query values were masked or cut in the record: the outcome is not certain.
    uncertain: u64,
    unreadable: u64,
    differences: BTreeMap<Difference, (u64, String)>,
}

pub(crate) async fn run(global: &Global, args: ReplayArgs) -> Result<Exit, Failure> {
    let policy = super::policy::load(&args.folder, false)?;
    let rest = Rest::new(&global.server_socket());
    let (mut tally, mut before, mut left) = (Tally::default(), String::new(), args.last);
    while left > 0 {
        let page = rest.get(&format!("/v1/decisions?limit={}{before}", left.min(PAGE))).await?;
        let rows = page.as_array().cloned().unwrap_or_default();
        let Some(oldest) = rows.last().map(|row| text(row, "/id")) else { break };
        left = left.saturating_sub(rows.len());
        rows.iter().filter(|row| text(row, "/effect") != "refusal").for_each(|row| tally.replay(&policy, row));
        before = format!("&before={oldest}");
    }
    let rows: Vec<Value> = tally
        .differences
        .iter()
        .map(|((subject, rule, was, becomes), (count, example))| {
            json!({"subject": subject, "rule": rule, "was": was, "becomes": becomes, "decisions": count, "example": example})
        })
        .collect();
    let shown = json!({
        "same": tally.same, "uncertain": tally.uncertain, "unreadable": tally.unreadable, "differences": rows,
    });
    let columns = [
        ("SUBJECT", "/subject"),
        ("RULE", "/rule"),
        ("WAS", "/was"),
        ("BECOMES", "/becomes"),
        ("DECISIONS", "/decisions"),
        ("EXAMPLE", "/example"),
    ];
    print(global.output, &shown, || {
        let Tally { same, uncertain, unreadable, .. } = &tally;
        format!(
            "{}\n\n{same} the same, {uncertain} uncertain for masked or cut values, {unreadable} unreadable",
            table(&rows, &columns)
        )
    })?;
    Ok(if tally.differences.is_empty() { Exit::Ok } else { Exit::Denied })
}

impl Tally {
    fn replay(&mut self, policy: &PolicySet, row: &Value) {
        let request = row.pointer("/record/input").map(RequestInput::from_json);
        let at = row.pointer("/record/now_ns").and_then(Value::as_i64);
        let (Some(Ok(request)), Some(at)) = (request, at) else {
            self.unreadable += 1;
            return;
        };
        // Decided as it was then: the clock is the record's.
        let decision = policy.decide(&request, UnixTime::from_nanos(at));
        let was = text(row, "/effect").to_owned();
        if decision.effect.as_str() == was {
            self.same += 1;
            return;
        }
        // The policy may have read what the record masks or cuts, so this says nothing of the policy.
        if !request.is_whole() {
            self.uncertain += 1;
            return;
        }
        let rule = decision.rule.as_ref().map_or_else(|| "none".to_owned(), sekisho_policy::RuleOutcome::place);
        let key = (request.subject.spiffe_id.to_string(), rule, was, decision.effect.as_str().to_owned());
        let (count, _) = self.differences.entry(key).or_insert_with(|| (0, text(row, "/id").to_owned()));
        *count += 1;
    }
}
