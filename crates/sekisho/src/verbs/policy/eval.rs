//! `sekisho policy eval`: one decision by the policy of a folder, or one query.

use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_policy::{RequestInput, Secrets};
use sekisho_rego::Limits;
use sekisho_rego::builtins::Context;
use sekisho_rego::syntax::Options;
use sekisho_runtime::{instant, now, parse_time};
use sekisho_types::UnixTime;
use serde_json::json;

use super::answers;
use super::files::load;
use super::partial::{self, PartialArgs};
use super::watching::WatchArgs;
use super::workspace::{self, Workspace, nanos};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Stderr, print, printable};
use crate::reach;
use crate::verbs::why::{ShownRule, decision_text};

/// What is evaluated where no query is given, for those who listen.
const ENTRY: &str = "data.workload.authz.allow";

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Folder with the `.rego` files
    folder: PathBuf,
    /// Query, such as `data.workload.authz.allow`; without one, the policy decides the input
    query: Option<String>,
    /// File with the input; `-` is stdin. A query needs none
    #[arg(short, long, env = "SEKISHO_POLICY_INPUT")]
    input: Option<PathBuf>,
    /// Documents of data for the query: `.json` or `.yaml` files, or folders with them; may be repeated
    #[arg(short, long, env = "SEKISHO_POLICY_DATA", requires = "query")]
    data: Vec<PathBuf>,
    /// The time of the decision, as `2027-01-31T12:00:00Z`; default: now
    #[arg(long, env = "SEKISHO_POLICY_NOW", value_parser = parse_time)]
    now: Option<UnixTime>,
    /// Exit with code 2 if the query is undefined
    #[arg(long, env = "SEKISHO_POLICY_FAIL", requires = "query")]
    fail: bool,
    #[command(flatten)]
    partial: PartialArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

pub(super) fn run(global: &Global, args: &EvalArgs) -> Result<Exit, Failure> {
    let at = args.now.unwrap_or_else(now);
    match &args.query {
        Some(query) if args.partial.partial => remains(global, args, query, at),
        Some(query) => ask(global, args, query, at),
        None => decide(global, args, at),
    }
}

fn decide(global: &Global, args: &EvalArgs, at: UnixTime) -> Result<Exit, Failure> {
    let input = args.input.as_deref().unwrap_or_else(|| Path::new("-"));
    let (start, set) = (instant(), load(&args.folder, false)?);
    let load_nanos = nanos(start);
    let text = if input == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(input)
    };
    let text = text.map_err(|e| reach::unreadable(input, &e))?;
    let value = serde_json::from_str(&text)
        .map_err(|e| Failure::failed(format!("{}: the input is not JSON: {e}", input.display())))?;
    let request =
        RequestInput::from_author(&value).map_err(|e| Failure::failed(format!("{}: {e}", input.display())))?;
    let value = request.to_value(at);
    let (decision, mut watched) = args.watch.watch(set.modules(), ENTRY, &Secrets::of(&value), |tracer| {
        if let Some(tracer) = tracer {
            // An error of the evaluation is in the decision as well.
            let _same_result = set.trace(&value, at, tracer);
        }
        set.decide(&request, at)
    });
    watched.metrics(&[("timer_load_ns", load_nanos)]);
    let rule = decision.rule.as_ref().map(ShownRule::from);
    let shown = json!({"effect": decision.effect.as_str(), "rule": rule, "error": decision.error});
    let text = watched.around(&format!("{}\n{}", decision.effect.as_str(), decision_text(&decision)));
    print(global.output, &watched.beside(shown), || text)?;
    Ok(if decision.effect.is_allow() { Exit::Ok } else { Exit::Denied })
}

fn ask(global: &Global, args: &EvalArgs, query: &str, at: UnixTime) -> Result<Exit, Failure> {
    let Workspace { policy, data, mut timers } = Workspace::load(&args.folder, &args.data)?;
    let input = args.input.as_deref().map(workspace::input).transpose()?;
    let start = instant();
    let options = Options { whole_negation: true, ..Options::default() };
    let question = policy.ask(query, options, &[], &[]).map_err(Failure::failed)?;
    timers.push(("timer_rego_query_compile_ns", nanos(start)));
    let secrets = input.as_ref().map(Secrets::of).unwrap_or_default();
    let (mut context, limits) = (Context::new(at.nanos()), Limits::default());
    let (found, mut watched) = args.watch.watch(policy.modules(), query, &secrets, |tracer| {
        question.eval(&data, input.as_ref(), &mut context, &limits, tracer)
    });
    say_printed(&context, &secrets);
    let found = found.map_err(Failure::failed)?;
    watched.metrics(&timers);
    let text = watched.around(&answers::text(&found));
    let shown = watched.beside(answers::json(&found));
    print(global.output, &shown, || text)?;
    Ok(if args.fail && found.is_empty() { Exit::Denied } else { Exit::Ok })
}

fn remains(global: &Global, args: &EvalArgs, query: &str, at: UnixTime) -> Result<Exit, Failure> {
    let Workspace { policy, data, mut timers } = Workspace::load(&args.folder, &args.data)?;
    let input = args.input.as_deref().map(workspace::input).transpose()?;
    let start = instant();
    let query_options = Options { whole_negation: true, ..Options::default() };
    let compiled = policy.query_in(query, query_options, &[], &[]).map_err(Failure::failed)?;
    timers.push(("timer_rego_query_compile_ns", nanos(start)));
    let options = args.partial.options(at);
    let (found, mut watched) = args.watch.watch(policy.modules(), query, &Secrets::default(), |_| {
        compiled.partial(&data, input.as_ref(), &options).map_err(Failure::failed)
    });
    let residual = found?;
    watched.metrics(&timers);
    let text = watched.around(&partial::text(&residual));
    let shown = watched.beside(partial::json(&residual, &policy)?);
    print(global.output, &shown, || text)?;
    Ok(if args.fail && residual.is_never() { Exit::Denied } else { Exit::Ok })
}

/// What the policy printed, on stderr.
fn say_printed(context: &Context, secrets: &Secrets) {
    for line in &context.printed {
        let _unread =
            std::io::Write::write_all(&mut Stderr, format!("{}\n", printable(&secrets.hide(line))).as_bytes());
    }
}
