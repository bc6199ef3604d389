use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_api::{DecisionForm, DecisionsQuery, PolicyFileForm, PolicyForm, PolicyQuery};
use sekisho_events::NodeEvent;
use sekisho_policy::{PolicySet, Recorded, Replayed, Source};
use sekisho_types::Effect;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::global::{Global, ServerSocket};
use crate::output::{Column, print, table};
use crate::progress::Progress;
use crate::reach;
use crate::rest::Rest;

/// Decisions on one page.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Folder with the other policy's `.rego` files
    folder: PathBuf,
    /// Number of the newest decisions that are decided again
    #[arg(long, env = "SEKISHO_REPLAY_LAST", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
    /// File of decisions in place of the server's, as `sekisho decision list -o jsonl` prints them
    #[arg(long, env = "SEKISHO_REPLAY_RECORDED")]
    recorded: Option<PathBuf>,
    #[command(flatten)]
    asks: ServerSocket,
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
struct RecordedPolicies {
    /// A file of decisions comes without the policies that made them.
    server: Option<Rest>,
    known: BTreeMap<u64, Option<PolicySet>>,
}

pub(crate) async fn run(mut global: Global, args: ReplayArgs) -> Result<Exit, Failure> {
    let policy = super::policy::files::load(&args.folder, false)?;
    global.server_socket = args.asks.server_socket;
    let last = usize::try_from(args.last).unwrap_or(usize::MAX);
    let progress = Progress::of("deciding again");
    let tally = match &args.recorded {
        Some(file) => {
            let (mut tally, mut recorded_policies) = (Tally::default(), RecordedPolicies::of(None));
            tally.add_rows(&policy, &read_rows(file, last)?, &mut recorded_policies).await;
            tally
        }
        None => of_server(&policy, &Rest::of(&global), last).await?,
    };
    drop(progress);
    tally.print(&global)?;
    Ok(if tally.differences.is_empty() { Exit::Ok } else { Exit::Denied })
}

/// The newest decisions in a file, which has them first.
fn read_rows(file: &Path, last: usize) -> Result<Vec<DecisionForm>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| reach::unreadable(file, &error))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).take(last);
    let row = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            let (file, line) = (file.display(), at + 1);
            Failure::failed(format!(
                "line {line} of {file} is not a decision ({error}); write the file with \
                 `sekisho decision list --limit 1000 -o jsonl`"
            ))
        })
    };
    lines.map(row).collect()
}

/// The newest decisions that a server has, page by page.
async fn of_server(policy: &PolicySet, rest: &Rest, last: usize) -> Result<Tally, Failure> {
    let (mut tally, mut recorded_policies) = (Tally::default(), RecordedPolicies::of(Some(rest.clone())));
    let (mut before, mut left) = (None, last);
    while left > 0 {
        let limit = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let query = DecisionsQuery { before, limit: Some(limit), ..Default::default() };
        let rows: Vec<DecisionForm> = rest.find("/v1/decisions", &query).await?;
        let Some(oldest) = rows.last().map(|row| row.id.clone()) else { break };
        left = left.saturating_sub(rows.len());
        tally.add_rows(policy, &rows, &mut recorded_policies).await;
        before = Some(oldest);
    }
    Ok(tally)
}

impl RecordedPolicies {
    const fn of(server: Option<Rest>) -> Self {
        Self { server, known: BTreeMap::new() }
    }

    /// The policy that made a decision, as the server keeps it.
    async fn judge(&mut self, recorded: &Recorded) -> Option<&PolicySet> {
        let revision = recorded.policy_revision;
        if let Entry::Vacant(unknown) = self.known.entry(revision) {
            let query = PolicyQuery { revision: Some(revision) };
            let shown: Option<PolicyForm> = self.server.as_ref()?.find("/v1/policy", &query).await.ok();
            let source = |file: PolicyFileForm| Source { name: file.name, text: file.text };
            let load = |shown: PolicyForm| PolicySet::load(shown.files.into_iter().map(source).collect()).ok();
            unknown.insert(shown.and_then(load));
        }
        self.known.get(&revision)?.as_ref()
    }
}

impl Tally {
    async fn add_rows(&mut self, policy: &PolicySet, rows: &[DecisionForm], recorded_policies: &mut RecordedPolicies) {
        for row in rows.iter().filter(|row| row.effect != "refusal") {
            let Ok(NodeEvent::Decided(decided)) = row.read() else {
                self.unreadable += 1;
                continue;
            };
            let recorded = decided.recorded;
            let judge = if recorded.needs_judge(policy) { recorded_policies.judge(&recorded).await } else { None };
            self.add(&policy.replay(&recorded, judge), &recorded, &row.id);
        }
    }

    fn add(&mut self, replayed: &Replayed, recorded: &Recorded, id: &str) {
        match replayed {
            Replayed::AsRecorded => self.same += 1,
            Replayed::Decided(decision) if decision.effect == recorded.decision.effect => self.same += 1,
            Replayed::Uncertain { place, rule } => {
                *self.uncertain.entry((place.clone(), rule.clone())).or_default() += 1
            }
            Replayed::Decided(decision) => {
                let rule = decision.rule.as_ref().map_or_else(|| "none".to_owned(), sekisho_policy::RuleOutcome::place);
                let name = |effect: Effect| effect.as_str().to_owned();
                let subject = recorded.request.subject.spiffe_id.to_string();
                let key = (subject, rule, name(recorded.decision.effect), name(decision.effect));
                let (count, _) = self.differences.entry(key).or_insert_with(|| (0, id.to_owned()));
                *count += 1;
            }
        }
    }

    fn print(&self, global: &Global) -> Result<(), Failure> {
        let difference =
            |((subject, rule, was, becomes), (decisions, example)): (&Difference, &(u64, String))| DifferenceRow {
                subject: subject.clone(),
                rule: rule.clone(),
                was: was.clone(),
                becomes: becomes.clone(),
                decisions: *decisions,
                example: example.clone(),
            };
        let missing = |((place, rule), decisions): (&Missing, &u64)| MissingRow {
            place: place.clone(),
            rule: rule.clone(),
            decisions: *decisions,
        };
        let Self { same, unreadable, .. } = self;
        let shown = Shown {
            same: *same,
            uncertain: self.uncertain.values().sum(),
            uncertain_for: self.uncertain.iter().map(missing).collect(),
            unreadable: *unreadable,
            differences: self.differences.iter().map(difference).collect(),
        };
        let columns: [Column<'_, DifferenceRow>; 6] = [
            ("SUBJECT", &|row| row.subject.clone()),
            ("RULE", &|row| row.rule.clone()),
            ("WAS", &|row| row.was.clone()),
            ("BECOMES", &|row| row.becomes.clone()),
            ("DECISIONS", &|row| row.decisions.to_string()),
            ("EXAMPLE", &|row| row.example.clone()),
        ];
        print(global.output, &shown, || {
            let line = |((place, rule), count): (&Missing, &u64)| {
                format!("\n{count} uncertain: {rule} reads input.{place}, of which the record does not say enough")
            };
            let uncertain: String = self.uncertain.iter().map(line).collect();
            format!("{}\n\n{same} the same, {unreadable} unreadable{uncertain}", table(&shown.differences, &columns))
        })
    }
}

/// What a replay found, as it is shown.
#[derive(Serialize)]
struct Shown {
    same: u64,
    uncertain: u64,
    uncertain_for: Vec<MissingRow>,
    unreadable: u64,
    differences: Vec<DifferenceRow>,
}

#[derive(Serialize)]
struct MissingRow {
    place: String,
    rule: String,
    decisions: u64,
}

#[derive(Serialize)]
struct DifferenceRow {
    subject: String,
    rule: String,
    was: String,
    becomes: String,
    decisions: u64,
    /// One of them.
    example: String,
}
