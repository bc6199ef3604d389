//! Metrics in Prometheus' text format, for operators' scrapers.

use std::fmt::Write;

use axum::Extension;
use axum::http::header;
use axum::response::IntoResponse;
use sekisho_events::Counter;
use sekisho_runtime::metrics::registry::TASK_RESTARTS;

use crate::caller::Operator;
use crate::counters::{Shown, shown};
use crate::domain::Shared;
use crate::executor::Call;
use crate::queries::{Measured, ShowFigures};

/// The server's metrics (Prometheus text exposition format 0.0.4). Counters begin at zero with each start.
#[cfg_attr(test, utoipa::path(get, path = "/metrics", operation_id = "show_metrics",
    responses((status = 200, body = String, content_type = "text/plain"))))]
pub(super) async fn metrics(Extension(call): Extension<Call<Operator>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text(&call.ask(ShowFigures).await))
}

/// The metrics of several trust domains; those of one name stand together, as the format has it.
pub(crate) fn text_of_all<'a>(domains: impl Iterator<Item = &'a Shared>) -> String {
    let mut families = std::collections::BTreeMap::<String, String>::new();
    for domain in domains {
        let text = text(&Measured::of(domain));
        for family in text.split("# HELP ").skip(1) {
            let samples = |line: &&str| !line.starts_with('#');
            let head: String = family.lines().take(2).map(|line| format!("{line}\n")).collect();
            let all = families.entry(head).or_default();
            family.lines().skip(1).filter(samples).for_each(|line| all.extend([line, "\n"]));
        }
    }
    families.into_iter().map(|(head, samples)| format!("# HELP {head}{samples}")).collect()
}

fn text(measured: &Measured) -> String {
    let figures = &measured.figures;
    let mut text = Exposition::of(&measured.trust_domain);
    text.counted(&measured.counts);
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        text.head(name, kind, help);
        text.sample(name, None, value);
    };
    add("log_size_entries", "gauge", "Entries of the log that a published checkpoint covers.", figures.log_size);
    let damage = figures.damage.len() as u64;
    add("log_damage", "gauge", "Parts of the log that were found damaged on disk since the start.", damage);
    let help = "Bundles of the log that were read again.";
    add("log_bundles_checked_total", "counter", help, measured.bundles_checked);
    add("registration_entries", "gauge", "Registration entries.", figures.entries as u64);
    add("agents", "gauge", "Agents that are known, banned ones included.", figures.agents as u64);
    add("revision", "gauge", "Revision of the state.", figures.revision.0);
    let policy = figures.policy_revision.unwrap_or(0);
    add("policy_revision", "gauge", "Revision of the policy; 0 without one.", policy);
    let refused = figures.policy_folder_refused.is_some();
    add("policy_folder_refused", "gauge", "1 while the policy folder is not taken as it is.", refused.into());
    let ends = figures.authority_ends.and_then(|ends| u64::try_from(ends.seconds()).ok()).unwrap_or(0);
    add("authority_end_seconds", "gauge", "Unix time at which the signing authority ends.", ends);
    let ahead = measured.clock_ahead.and_then(|ahead| u64::try_from(ahead).ok()).unwrap_or(0);
    let help = "Seconds by which the clock is ahead of what is believed; 0 up to a day.";
    add("clock_ahead_seconds", "gauge", help, ahead);
    let dangers = figures.dangers.len() as u64;
    add("dangers", "gauge", "Settings in force that weaken safety; the log names them at the start.", dangers);
    text.head("task_running", "gauge", "1 while a long-running task runs.");
    for (task, status) in &figures.tasks {
        text.sample("task_running", Some(("task", task)), status.running.into());
    }
    text.head(TASK_RESTARTS.name, TASK_RESTARTS.kind.name(), TASK_RESTARTS.help);
    for (task, status) in &figures.tasks {
        text.sample("task_restarts_total", Some(("task", task)), status.restarts);
    }
    text.out + &measured.others
}

/// The metrics of one trust domain: each sample is labelled with it. Names of trust domains, tasks and labels need no
/// escaping.
struct Exposition<'a> {
    out: String,
    trust_domain: &'a str,
}

impl<'a> Exposition<'a> {
    const fn of(trust_domain: &'a str) -> Self {
        Self { out: String::new(), trust_domain }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _written = writeln!(self.out, "# HELP sekisho_{name} {help}\n# TYPE sekisho_{name} {kind}");
    }

    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: u64) {
        let label = label.map(|(name, value)| format!(",{name}=\"{value}\"")).unwrap_or_default();
        let _written = writeln!(self.out, "sekisho_{name}{{trust_domain=\"{}\"{label}}} {value}", self.trust_domain);
    }

    /// What was recorded, by what it was.
    fn counted(&mut self, counts: &[(Counter, u64)]) {
        let mut before = "";
        for (counter, count) in counts {
            let Shown { name, label, help } = shown(*counter);
            if name != before {
                self.head(name, "counter", help);
            }
            before = name;
            self.sample(name, label, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_one_name_stand_together() {
        let mut text = Exposition::of("td");
        text.counted(&Counter::ALL.iter().map(|counter| (*counter, 0)).collect::<Vec<_>>());
        let out = text.out;
        let once = "# TYPE sekisho_attestations_total counter\nsekisho_attestations_total{trust_domain=\"td\"} 0\n";
        assert!(out.contains(once), "{out}");
        let sample = "\nsekisho_entry_changes_total{trust_domain=\"td\",event=";
        assert!(out.contains(&format!("{sample}\"created\"}} 0{sample}")), "{out}");
        let named: Vec<_> = out.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let once: std::collections::BTreeSet<_> = named.iter().collect();
        assert_eq!(named.len(), once.len(), "{out}");
    }
}
