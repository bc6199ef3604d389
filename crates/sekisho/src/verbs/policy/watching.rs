//! What an evaluation did, beside its result: `--explain`, `--profile`, `--coverage`, `--metrics`.

use clap::{Args, ValueEnum};
use sekisho_policy::Secrets;
use sekisho_rego::Tracer;
use sekisho_rego::syntax::ast::Module;
use sekisho_rego::tracers::{Cover, Detail, Explanation, Order, Profiler, Several};
use sekisho_runtime::instant;
use serde_json::{Value, json};

use super::reports;
use super::workspace::nanos;

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Show what the evaluation did, event by event
    #[arg(long, env = "SEKISHO_POLICY_EXPLAIN", value_enum, default_value_t = Explain::Off)]
    explain: Explain,
    /// Show what each expression took
    #[arg(long, env = "SEKISHO_POLICY_PROFILE")]
    profile: bool,
    /// Number of expressions that `--profile` shows
    #[arg(long, env = "SEKISHO_POLICY_PROFILE_LIMIT", default_value_t = 10)]
    profile_limit: usize,
    /// Order of `--profile`: total_time_ns, num_eval, num_redo, num_gen_expr, file or line; may be repeated
    #[arg(long, env = "SEKISHO_POLICY_PROFILE_SORT")]
    profile_sort: Vec<Order>,
    /// Show which rules and conditions were evaluated
    #[arg(long, env = "SEKISHO_POLICY_COVERAGE")]
    coverage: bool,
    /// Show how long loading and evaluating took
    #[arg(long, env = "SEKISHO_POLICY_METRICS")]
    metrics: bool,
}

/// How much an explanation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Explain {
    Off,
    /// Everything but what was unified
    Full,
    /// What the policy noted by `trace`
    Notes,
    /// What did not hold
    Fails,
    /// Everything, with values
    Debug,
}

impl Explain {
    const fn detail(self) -> Option<Detail> {
        match self {
            Self::Off => None,
            Self::Full => Some(Detail::Full),
            Self::Notes => Some(Detail::Notes),
            Self::Fails => Some(Detail::Fails),
            Self::Debug => Some(Detail::Debug),
        }
    }
}

impl WatchArgs {
    /// Evaluates with the listeners that are wanted. `query` is the text of what is evaluated.
    pub(super) fn watch<T>(
        &self,
        modules: &[Module],
        query: &str,
        secrets: &Secrets,
        evaluate: impl FnOnce(Option<&mut dyn Tracer>) -> T,
    ) -> (T, Watched) {
        let start = instant();
        let clock = || nanos(start);
        let mut explanation = self.explain.detail().map(Explanation::new);
        let mut profiler = self.profile.then(|| Profiler::new(&clock));
        let mut cover = self.coverage.then(Cover::new);
        let (result, eval_nanos) = {
            let mut several = Several::new();
            explanation.iter_mut().for_each(|tracer| several.add(tracer));
            profiler.iter_mut().for_each(|tracer| several.add(tracer));
            cover.iter_mut().for_each(|tracer| several.add(tracer));
            let began = instant();
            let result = if several.is_empty() { evaluate(None) } else { evaluate(Some(&mut several)) };
            (result, nanos(began))
        };
        let mut watched =
            Watched { eval_nanos, metrics: self.metrics, text: Vec::new(), json: Vec::new(), trace: None };
        if let Some(explanation) = explanation {
            let lines = explanation.lines(modules, query);
            watched.trace = Some(reports::trace(&lines, explanation.omitted(), secrets));
            watched.json.push(("explanation", reports::trace_json(&lines, secrets)));
        }
        if let Some(mut profiler) = profiler {
            let mut rows = profiler.report(modules, query, &self.profile_sort);
            rows.truncate(self.profile_limit);
            watched.text.push(reports::profile(&rows));
            watched.json.push(("profile", reports::profile_json(&rows)));
        }
        if let Some(cover) = cover {
            let report = cover.report(modules);
            watched.text.push(reports::coverage(&report));
            watched.json.push(("coverage", reports::coverage_json(&report)));
        }
        (result, watched)
    }
}

/// What the listeners heard, ready to be shown.
pub(super) struct Watched {
    eval_nanos: u64,
    metrics: bool,
    /// Shown above the result.
    trace: Option<String>,
    /// Shown below the result.
    text: Vec<String>,
    json: Vec<(&'static str, Value)>,
}

impl Watched {
    /// Adds how long each part took.
    pub(super) fn metrics(&mut self, timers: &[(&'static str, u64)]) {
        if !self.metrics {
            return;
        }
        let all: Vec<(&str, u64)> =
            timers.iter().copied().chain([("timer_rego_query_eval_ns", self.eval_nanos)]).collect();
        self.text.push(reports::metrics(&all));
        let members = all.iter().map(|(name, nanos)| ((*name).to_owned(), json!(nanos)));
        self.json.push(("metrics", Value::Object(members.collect())));
    }

    /// The result as a text, with what was heard around it.
    pub(super) fn around(&self, result: &str) -> String {
        let trace = self.trace.as_deref().filter(|trace| !trace.is_empty());
        let above = trace.map(|trace| format!("{trace}\n")).unwrap_or_default();
        let below: String = self.text.iter().map(|text| format!("\n\n{text}")).collect();
        format!("{above}{}{below}", result.trim_end())
    }

    /// The result as JSON, with what was heard as further members.
    pub(super) fn beside(self, mut result: Value) -> Value {
        if let Value::Object(members) = &mut result {
            members.extend(self.json.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        result
    }
}
