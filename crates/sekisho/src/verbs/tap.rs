//! `tap`: the requests of one service as they are decided, from it and to it.

use std::collections::BTreeSet;

use clap::Args;
use sekisho_api::{DecisionForm, EntriesQuery, EntryList};
use sekisho_events::NodeEvent;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{mark, painted, printable};
use crate::rest::Rest;
use crate::verbs::decision::{Filter, ends, follow, is_service, line};
use crate::view::View;

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// The service: its SPIFFE ID, its path, or the last parts of it
    service: String,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(global: &Global, args: TapArgs) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    let TapArgs { service, filter } = args;
    let view = View::of(global, &rest).await;
    check_service(&rest, &service, &view).await?;
    let lines = rest.follow("/v1/decisions/follow").await?;
    follow(lines, &filter, vec![], |form| {
        let Some(direction) = direction(form, &service) else { return Ok(()) };
        match global.output.is_for_people() {
            true => crate::output::line(&painted(&text(form, direction, &view))),
            false => crate::output::line(&serde_json::to_string(form).map_err(Failure::failed)?),
        }
    })
    .await
}

/// Entries that are searched for the service; a server with more may have it behind them.
const PAGE: usize = 1000;
/// Services that a failure names.
const NAMED: usize = 8;

/// Fails if no entry gives an identity that is meant: nothing would ever be shown.
async fn check_service(rest: &Rest, service: &str, view: &View) -> Result<(), Failure> {
    let query = EntriesQuery { limit: Some(PAGE), ..EntriesQuery::default() };
    let page: EntryList = rest.find("/v1/entries", &query).await?;
    if page.next.is_some() || page.entries.iter().any(|entry| is_service(&entry.spiffe_id, service)) {
        return Ok(());
    }
    let known: BTreeSet<String> = page.entries.iter().map(|entry| view.spiffe_id(&entry.spiffe_id)).collect();
    let more = if known.len() > NAMED { " and others" } else { "" };
    let named: Vec<String> = known.into_iter().take(NAMED).collect();
    let services = match named.is_empty() {
        true => "none is registered yet".to_owned(),
        false => format!("registered: {}{more} (`sekisho entry list`)", named.join(", ")),
    };
    Err(Failure::failed(format!("there is no service `{service}`; {services}")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    From,
    To,
}

/// Whether a record is of a request to the service or from it.
fn direction(form: &DecisionForm, service: &str) -> Option<Direction> {
    let (source, destination) = ends(&form.read().ok()?);
    let is = |id: Option<String>| id.is_some_and(|id| is_service(&id, service));
    if is(destination) {
        return Some(Direction::To);
    }
    is(source).then_some(Direction::From)
}

fn text(form: &DecisionForm, direction: Direction, view: &View) -> String {
    let Ok(NodeEvent::Decided(decided)) = form.read() else { return line(form, view) };
    let request = &decided.recorded.request;
    let (way, other) = match direction {
        Direction::To => ("←", &request.subject.spiffe_id),
        Direction::From => ("→", &request.destination),
    };
    let (.., hour, minute, second) = sekisho_types::UnixTime::from_millis(form.at_ms).civil();
    let rule = decided
        .recorded
        .decision
        .rule
        .as_ref()
        .map_or_else(|| "no rule".to_owned(), sekisho_policy::RuleOutcome::place);
    format!(
        "{hour:02}:{minute:02}:{second:02} {} {:<5} {way} {}  {} {}  {rule}  {} µs  {}",
        mark(form.effect == "allow"),
        form.effect,
        view.spiffe_id(other.as_str()),
        printable(&request.method),
        printable(&request.joined_path()),
        decided.latency_micros,
        view.id(&form.id)
    )
}
