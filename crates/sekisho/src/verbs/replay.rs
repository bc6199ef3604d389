use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use clap::Args;
use sekisho_policy::{PolicySet, Recorded, Replayed, Source};
use sekisho_types::Effect;
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

/// What a policy reads and records do not say: its place in the input, and the rule that reads it.
type Missing = (String, String);

#[derive(Default)]
struct Tally {
    same: u64,
    unreadable: u64,
    /// The outcome depends on what the record does not say.
    uncertain: BTreeMap<Missing, u64>,
    differences: BTreeMap<Difference, (u64, String)>,
}

/// Policies that decided what is in the record, by revision; `None` for one that the server does not have any more.
#[derive(Default)]
struct Judges(BTreeMap<u64, Option<PolicySet>>);

pub(crate) async fn run(global: &Global, args: ReplayArgs) -> Result<Exit, Failure> {
    let policy = super::policy_files::load(&args.folder, false)?;
    let rest = Rest::new(&global.server_socket());
    let (mut tally, mut judges) = (Tally::default(), Judges::default());
    let (mut before, mut left) = (String::new(), args.last);
    while left > 0 {
        let page = rest.get(&format!("/v1/decisions?limit={}{before}", left.min(PAGE))).await?;
        let rows = page.as_array().cloned().unwrap_or_default();
        let Some(oldest) = rows.last().map(|row| text(row, "/id")) else { break };
        left = left.saturating_sub(rows.len());
        for row in rows.iter().filter(|row| text(row, "/effect") != "refusal") {
            let Ok(recorded) = Recorded::from_json(row.get("record").unwrap_or(&Value::Null)) else {
                tally.unreadable += 1;
                continue;
            };
            let judge = if recorded.needs_judge(&policy) { judges.of(&rest, &recorded).await } else { None };
            tally.add(&policy.replay(&recorded, judge), &recorded, text(row, "/id"));
        }
        before = format!("&before={oldest}");
    }
    tally.print(global)?;
    Ok(if tally.differences.is_empty() { Exit::Ok } else { Exit::Denied })
}

impl Judges {
    /// The policy that made a decision, as the server keeps it.
    async fn of(&mut self, rest: &Rest, recorded: &Recorded) -> Option<&PolicySet> {
        let revision = recorded.policy_revision;
        if let Entry::Vacant(unknown) = self.0.entry(revision) {
            let shown = rest.get(&format!("/v1/policy?revision={revision}")).await.unwrap_or_default();
            let files = shown.get("files").and_then(Value::as_array).into_iter().flatten();
            let source = |file| Source { name: text(file, "/name").to_owned(), text: text(file, "/text").to_owned() };
            unknown.insert(PolicySet::load(files.map(source).collect()).ok());
        }
        self.0.get(&revision)?.as_ref()
    }
}

impl Tally {
    fn add(&mut self, replayed: &Replayed, recorded: &Recorded, id: &str) {
        match replayed {
            Replayed::AsRecorded => self.same += 1,
            Replayed::Decided(decision) if decision.effect == recorded.effect => self.same += 1,
            Replayed::Uncertain { place, rule } => {
                *self.uncertain.entry((place.clone(), rule.clone())).or_default() += 1
            }
            Replayed::Decided(decision) => {
                let rule = decision.rule.as_ref().map_or_else(|| "none".to_owned(), sekisho_policy::RuleOutcome::place);
                let name = |effect: Effect| effect.as_str().to_owned();
                let subject = recorded.request().subject.spiffe_id.to_string();
                let key = (subject, rule, name(recorded.effect), name(decision.effect));
                let (count, _) = self.differences.entry(key).or_insert_with(|| (0, id.to_owned()));
                *count += 1;
            }
        }
    }

    fn print(&self, global: &Global) -> Result<(), Failure> {
        let difference = |((subject, rule, was, becomes), (count, example)): (&Difference, &(u64, String))| {
            json!({
                "subject": subject, "rule": rule, "was": was, "becomes": becomes, "decisions": count, "example": example,
            })
        };
        let rows: Vec<Value> = self.differences.iter().map(difference).collect();
        let missing =
            |((place, rule), count): (&Missing, &u64)| json!({"place": place, "rule": rule, "decisions": count});
        let unknown: Vec<Value> = self.uncertain.iter().map(missing).collect();
        let uncertain: u64 = self.uncertain.values().sum();
        let Self { same, unreadable, .. } = self;
        let shown = json!({
            "same": same, "uncertain": uncertain, "uncertain_for": unknown, "unreadable": unreadable, "differences": rows,
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
            let line = |((place, rule), count): (&Missing, &u64)| {
                format!("\n{count} uncertain: {rule} reads input.{place}, of which the record does not say enough")
            };
            let uncertain: String = self.uncertain.iter().map(line).collect();
            format!("{}\n\n{same} the same, {unreadable} unreadable{uncertain}", table(&rows, &columns))
        })
    }
}
