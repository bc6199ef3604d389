//! Metrics in Prometheus' text format, for operators' scrapers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::PoisonError;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use sekisho_events::Counter;
use sekisho_runtime::TaskStatus;

use crate::counters::{Counters, Shown, shown};
use crate::domain::Shared;

/// The server's metrics (Prometheus text exposition format 0.0.4). Counters begin at zero with each start.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(domain): State<Shared>) -> impl IntoResponse {
    let (entries, agents, revision, policy) = domain.view.read(|state| {
        let policy = state.policy.as_ref().map_or(0, |policy| policy.revision);
        (state.entries.len(), state.nodes.len(), state.revision.0, policy)
    });
    let ends = domain.identity.authorities.signing().map_or(0, |signing| signing.record.not_after.seconds());
    let mut out = counted(&domain.watch.counters);
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        // Writing to a string does not fail.
        let _written =
            writeln!(out, "# HELP sekisho_{name} {help}\n# TYPE sekisho_{name} {kind}\nsekisho_{name} {value}");
    };
    add(
        "log_size_entries",
        "gauge",
        "Entries of the log that a published checkpoint covers.",
        domain.log.ledger.size(),
    );
    let damage = domain.watch.scrub.damage().len() as u64;
    add("log_damage", "gauge", "Parts of the log that were found damaged on disk since the start.", damage);
    add(
        "log_bundles_checked_total",
        "counter",
        "Bundles of the log that were read again.",
        domain.watch.scrub.bundles(),
    );
    add("registration_entries", "gauge", "Registration entries.", entries as u64);
    add("agents", "gauge", "Agents that are known, banned ones included.", agents as u64);
    add("revision", "gauge", "Revision of the state.", revision);
    add("policy_revision", "gauge", "Revision of the policy; 0 without one.", policy);
    let refused = domain.watch.policy_folder_refused.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    add("policy_folder_refused", "gauge", "1 while the policy folder is not taken as it is.", refused.into());
    let ends = u64::try_from(ends).unwrap_or(0);
    add("authority_end_seconds", "gauge", "Unix time at which the signing authority ends.", ends);
    let ahead = u64::try_from(domain.watch.belief.ahead(sekisho_runtime::now()).unwrap_or(0)).unwrap_or(0);
    let help = "Seconds by which the clock is ahead of what is believed; 0 up to a day.";
    add("clock_ahead_seconds", "gauge", help, ahead);
    let dangers = sekisho_runtime::dangers().len() as u64;
    add("dangers", "gauge", "Settings in force that weaken safety; the log names them at the start.", dangers);
    let tasks = domain.watch.tasks.status();
    let running = |status: &TaskStatus| u64::from(status.running);
    tasks_metric(&mut out, "task_running", "gauge", "1 while a long-running task runs.", &tasks, running);
    let help = "How often a task ended and was started again.";
    tasks_metric(&mut out, "task_restarts_total", "counter", help, &tasks, |status| status.restarts);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out)
}

/// What was recorded, by what it was.
fn counted(counters: &Counters) -> String {
    let (mut out, mut before) = (String::new(), "");
    for counter in Counter::ALL {
        let Shown { name, label, help } = shown(*counter);
        // Writing to a string does not fail.
        if name != before {
            let _written = writeln!(out, "# HELP sekisho_{name} {help}\n# TYPE sekisho_{name} counter");
        }
        before = name;
        let label = label.map(|(name, value)| format!("{{{name}=\"{value}\"}}")).unwrap_or_default();
        let _written = writeln!(out, "sekisho_{name}{label} {}", counters.value(*counter));
    }
    out
}

/// One sample for each task, labelled with its name. Names are ours: they need no escaping.
fn tasks_metric(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    tasks: &BTreeMap<&'static str, TaskStatus>,
    value: impl Fn(&TaskStatus) -> u64,
) {
    // Writing to a string does not fail.
    let _written = writeln!(out, "# HELP sekisho_{name} {help}\n# TYPE sekisho_{name} {kind}");
    for (task, status) in tasks {
        let _written = writeln!(out, "sekisho_{name}{{task=\"{task}\"}} {}", value(status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_one_name_stand_together() {
        let out = counted(&Counters::default());
        assert!(out.contains("# TYPE sekisho_attestations_total counter\nsekisho_attestations_total 0\n"), "{out}");
        assert!(
            out.contains("\nsekisho_entry_changes_total{event=\"created\"} 0\nsekisho_entry_changes_total{event="),
            "{out}"
        );
        let named: Vec<_> = out.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let once: std::collections::BTreeSet<_> = named.iter().collect();
        assert_eq!(named.len(), once.len(), "{out}");
    }
}
