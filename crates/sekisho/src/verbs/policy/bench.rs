//! `sekisho policy bench`: how long one decision, or one query, takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sekisho_policy::RequestInput;
use sekisho_rego::Limits;
use sekisho_rego::builtins::Context;
use sekisho_rego::syntax::Options;
use sekisho_runtime::{instant, now, parse_time};
use sekisho_types::UnixTime;
use serde::Serialize;
use serde_json::json;

use super::files::load;
use super::reports::{self, duration};
use super::workspace::{self, Workspace, nanos};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, print, table};

/// How long one run measures.
const RUN: Duration = Duration::from_secs(1);
/// How long it runs before it measures.
const WARM: Duration = Duration::from_millis(200);
/// The most measurements that are kept: 16 MB.
const MOST: usize = 2_000_000;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Folder with the `.rego` files
    folder: PathBuf,
    /// Query, such as `data.workload.authz`; without one, decisions of the input are measured
    query: Option<String>,
    /// File with the input; `-` is stdin. A query needs none
    #[arg(short, long, env = "SEKISHO_POLICY_INPUT", required_unless_present = "query")]
    input: Option<PathBuf>,
    /// Documents of data for the query: `.json` or `.yaml` files, or folders with them; may be repeated
    #[arg(short, long, env = "SEKISHO_POLICY_DATA", requires = "query")]
    data: Vec<PathBuf>,
    /// The time of the decisions, as `2027-01-31T12:00:00Z`; default: now
    #[arg(long, env = "SEKISHO_POLICY_NOW", value_parser = parse_time)]
    now: Option<UnixTime>,
    /// Number of runs, of a second each
    #[arg(long, env = "SEKISHO_POLICY_COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Show how long loading took
    #[arg(long, env = "SEKISHO_POLICY_METRICS")]
    metrics: bool,
}

/// One run, in nanoseconds.
#[derive(Serialize)]
struct Run {
    samples: usize,
    ns_per_op: u64,
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

pub(super) fn run(global: &Global, args: &BenchArgs) -> Result<Exit, Failure> {
    let at = args.now.unwrap_or_else(now);
    let (runs, timers) = match &args.query {
        Some(query) => of_query(args, query, at)?,
        None => of_decision(args, at)?,
    };
    let mut shown = json!({"runs": runs});
    if let (true, Some(members)) = (args.metrics, shown.as_object_mut()) {
        let timers = timers.iter().map(|(name, nanos)| ((*name).to_owned(), json!(nanos)));
        members.insert("metrics".to_owned(), serde_json::Value::Object(timers.collect()));
    }
    print(global.output, &shown, || {
        let columns: [Column<'_, Run>; 8] = [
            ("SAMPLES", &|run| run.samples.to_string()),
            ("NS/OP", &|run| run.ns_per_op.to_string()),
            ("MIN", &|run| duration(run.min)),
            ("P50", &|run| duration(run.p50)),
            ("P90", &|run| duration(run.p90)),
            ("P99", &|run| duration(run.p99)),
            ("P99.9", &|run| duration(run.p999)),
            ("MAX", &|run| duration(run.max)),
        ];
        let text = table(&runs, &columns);
        if args.metrics { format!("{text}\n\n{}", reports::metrics(&timers)) } else { text }
    })?;
    Ok(Exit::Ok)
}

type Measured = (Vec<Run>, Vec<(&'static str, u64)>);

fn of_decision(args: &BenchArgs, at: UnixTime) -> Result<Measured, Failure> {
    let start = instant();
    let set = load(&args.folder, false)?;
    let timers = vec![("timer_load_ns", nanos(start))];
    let path = args.input.clone().unwrap_or_else(|| PathBuf::from("-"));
    let value = workspace::input(&path)?;
    let value = serde_json::from_str(&value.to_json()).map_err(Failure::failed)?;
    let request =
        RequestInput::from_author(&value).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let runs = measure(args.count, || {
        std::hint::black_box(set.decide(std::hint::black_box(&request), at));
        Ok(())
    })?;
    Ok((runs, timers))
}

fn of_query(args: &BenchArgs, query: &str, at: UnixTime) -> Result<Measured, Failure> {
    let Workspace { policy, data, mut timers } = Workspace::load(&args.folder, &args.data)?;
    let input = args.input.as_deref().map(workspace::input).transpose()?;
    let start = instant();
    let options = Options { whole_negation: true, ..Options::default() };
    let query = policy.query_in(query, options, &[], &[]).map_err(Failure::failed)?;
    timers.push(("timer_rego_query_compile_ns", nanos(start)));
    let limits = Limits::default();
    let mut context = Context::new(at.nanos());
    let runs = measure(args.count, || {
        context = std::mem::replace(&mut context, Context::new(0)).renewed(at.nanos());
        let found = query.eval_in(&data, input.as_ref(), &mut context, &limits, None);
        std::hint::black_box(found.map_err(Failure::failed)?);
        Ok(())
    })?;
    Ok((runs, timers))
}

fn measure(count: u16, mut once: impl FnMut() -> Result<(), Failure>) -> Result<Vec<Run>, Failure> {
    let start = instant();
    while start.elapsed() < WARM {
        once()?;
    }
    let mut runs = Vec::new();
    for _ in 0..count {
        let (mut samples, start) = (Vec::new(), instant());
        while start.elapsed() < RUN && samples.len() < MOST {
            let begun = instant();
            once()?;
            samples.push(nanos(begun));
        }
        runs.push(Run::of(samples));
    }
    Ok(runs)
}

impl Run {
    fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let count = samples.len();
        // The smallest sample that this share of all does not exceed.
        let share = |thousandths: usize| {
            let at = (count * thousandths).div_ceil(1000).saturating_sub(1);
            samples.get(at).copied().unwrap_or(0)
        };
        let sum: u64 = samples.iter().sum();
        Self {
            samples: count,
            ns_per_op: sum / u64::try_from(count.max(1)).unwrap_or(1),
            min: samples.first().copied().unwrap_or(0),
            p50: share(500),
            p90: share(900),
            p99: share(990),
            p999: share(999),
            max: samples.last().copied().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Run;

    #[test]
    fn shares_are_of_all_samples() {
        let run = Run::of((1..=1000).rev().collect());
        assert_eq!((run.samples, run.ns_per_op, run.min, run.max), (1000, 500, 1, 1000));
        assert_eq!((run.p50, run.p90, run.p99, run.p999), (500, 900, 990, 999));
        assert_eq!(Run::of(vec![7]).p50, 7);
        assert_eq!(Run::of(Vec::new()).p99, 0);
    }
}
