//! `top`: what each service decides now, and when its identity ends.

mod window;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use sekisho_api::{DecisionForm, IdentitiesQuery, IdentityForm};
use sekisho_events::NodeEvent;
use sekisho_runtime::{instant, seconds_in};
use sekisho_types::UnixTime;
use serde::Serialize;

use self::window::{Rates, Window};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, mark, or_dash, painted, table};
use crate::rest::Rest;
use crate::verbs::decision::ends;
use crate::view::View;

/// Identities are requested once in so many updates: they live for minutes.
const IDENTITIES_EVERY: u32 = 15;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Time between two updates
    #[arg(long, env = "SEKISHO_TOP_EVERY", default_value = "1s")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(1..=3600))]
    every: u32,
    /// Period over which rates and shares are computed
    #[arg(long, env = "SEKISHO_TOP_WINDOW", default_value = "10s")]
    #[arg(value_name = "DURATION", value_parser = seconds_in(1..=3600))]
    window: u32,
    /// Stop after this number of updates
    #[arg(long, env = "SEKISHO_TOP_COUNT")]
    count: Option<u32>,
}

/// A service, as programs are shown it.
#[derive(Serialize)]
struct Row {
    spiffe_id: String,
    #[serde(flatten)]
    rates: Rates,
    svid_ends_at_ms: Option<i64>,
}

pub(crate) async fn run(global: &Global, args: TopArgs) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    let mut lines = rest.follow("/v1/decisions/follow").await?;
    let mut window = Window::new(Duration::from_secs(args.window.into()), instant());
    let mut ticks = tokio::time::interval(Duration::from_secs(args.every.into()));
    // The first comes at once, and has seen nothing.
    ticks.tick().await;
    let (mut identities, mut pictures) = (BTreeMap::new(), 0);
    loop {
        tokio::select! {
            biased;
            _tick = ticks.tick() => {
                if pictures % IDENTITIES_EVERY == 0 {
                    identities = svid_ends(&rest).await?;
                }
                let is_live = args.count != Some(1);
                show(global, &rest, &rows(&mut window, &identities), is_live).await?;
                pictures += 1;
                if args.count.is_some_and(|count| pictures >= count) {
                    return Ok(Exit::Ok);
                }
            }
            line = lines.next() => {
                let line = line?.ok_or_else(|| Failure::failed("the server closed the stream: it stops, or this \
                    caller is not an operator any more"))?;
                add(&mut window, &line);
            }
        }
    }
}

fn add(window: &mut Window, line: &str) {
    // Lines that say what was missed are not records.
    let Ok(form) = serde_json::from_str::<DecisionForm>(line) else { return };
    let Ok(event) = form.read() else { return };
    let micros = match &event {
        NodeEvent::Decided(decided) => decided.latency_micros,
        _ => return,
    };
    if let (_, Some(destination)) = ends(&event) {
        window.add(destination, instant(), form.effect != "allow", micros);
    }
}

/// The expiry of the newest X.509-SVID of each identity.
async fn svid_ends(rest: &Rest) -> Result<BTreeMap<String, i64>, Failure> {
    let listed: Vec<IdentityForm> = rest.find("/v1/identities", &IdentitiesQuery { limit: Some(1000) }).await?;
    let now = sekisho_runtime::now().millis();
    let mut ends = BTreeMap::new();
    for row in listed.into_iter().filter(|row| !row.spiffe_id.is_empty()) {
        if let Some(end) = row.ends_at_ms.filter(|end| *end > now) {
            let latest = ends.entry(row.spiffe_id).or_insert(end);
            *latest = end.max(*latest);
        }
    }
    Ok(ends)
}

fn rows(window: &mut Window, identities: &BTreeMap<String, i64>) -> Vec<Row> {
    let mut rates = window.rates(instant());
    for id in identities.keys() {
        rates.entry(id.clone()).or_default();
    }
    let row = |(spiffe_id, rates): (String, Rates)| {
        let svid_ends_at_ms = identities.get(&spiffe_id).copied();
        Row { spiffe_id, rates, svid_ends_at_ms }
    };
    let mut rows: Vec<Row> = rates.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.rates.decisions_per_second.total_cmp(&a.rates.decisions_per_second));
    rows
}

async fn show(global: &Global, rest: &Rest, rows: &[Row], is_live: bool) -> Result<(), Failure> {
    if !global.output.is_for_people() {
        return rows
            .iter()
            .try_for_each(|row| crate::output::line(&serde_json::to_string(row).map_err(Failure::failed)?));
    }
    let view = View::of(global, rest).await;
    let columns: [Column<'_, Row>; 6] = [
        ("SERVICE", &|row| view.spiffe_id(&row.spiffe_id)),
        ("DECISIONS/S", &|row| format!("{:.1}", row.rates.decisions_per_second)),
        ("DENIED", &|row| format!("{} {:.0} %", mark(row.rates.denied_percent == 0.0), row.rates.denied_percent)),
        ("P50", &|row| micros(row.rates.p50_us)),
        ("P99", &|row| micros(row.rates.p99_us)),
        ("SVID ENDS", &|row| or_dash(row.svid_ends_at_ms.map(|end| view.left(UnixTime::from_millis(end))))),
    ];
    let text = painted(&table(rows, &columns));
    // In place, where a person looks on; elsewhere one picture after the other.
    let clear = if is_live && std::io::stdout().is_terminal() { "\u{1b}[H\u{1b}[2J" } else { "" };
    crate::output::line(&format!("{clear}{text}\n"))
}

fn micros(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1000),
    }
}
