//! Metrics in Prometheus' text format, for operators' scrapers.

use std::fmt::Write;
use std::sync::PoisonError;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use sekisho_events::Counter;
use sekisho_runtime::metrics::registry::TASK_RESTARTS;

use crate::counters::{Counters, Shown, shown};
use crate::domain::{Domain, Shared};

/// The server's metrics (Prometheus text exposition format 0.0.4). Counters begin at zero with each start.
#[cfg_attr(test, utoipa::path(get, path = "/metrics",
    responses((status = 200, body = String, content_type = "text/plain"))))]
pub(super) async fn metrics(State(domain): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text(&domain))
}

/// The metrics of several trust domains; those of one name stand together, as the format has it.
pub(crate) fn text_of_all<'a>(domains: impl Iterator<Item = &'a Shared>) -> String {
    let mut families = std::collections::BTreeMap::<String, String>::new();
    for domain in domains {
        let text = text(domain);
        for family in text.split("# HELP ").skip(1) {
            let samples = |line: &&str| !line.starts_with('#');
            let head: String = family.lines().take(2).map(|line| format!("{line}\n")).collect();
            let all = families.entry(head).or_default();
            family.lines().skip(1).filter(samples).for_each(|line| all.extend([line, "\n"]));
        }
    }
    families.into_iter().map(|(head, samples)| format!("# HELP {head}{samples}")).collect()
}

fn text(domain: &Domain) -> String {
    let (entries, agents, revision, policy) = domain.view.read(|state| {
        let policy = state.policy.as_ref().map_or(0, |policy| policy.revision);
        (state.entries.len(), state.nodes.len(), state.revision.0, policy)
    });
    let ends = domain.identity.authorities.signing().map_or(0, |signing| signing.record.not_after.seconds());
    let mut text = Exposition::of(domain.identity.name.as_str());
    text.counted(&domain.watch.counters);
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        text.head(name, kind, help);
        text.sample(name, None, value);
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
    text.head("task_running", "gauge", "1 while a long-running task runs.");
    for (task, status) in &tasks {
        text.sample("task_running", Some(("task", task)), status.running.into());
    }
    text.head(TASK_RESTARTS.name, TASK_RESTARTS.kind.name(), TASK_RESTARTS.help);
    for (task, status) in &tasks {
        text.sample("task_restarts_total", Some(("task", task)), status.restarts);
    }
    text.out + &domain.watch.metrics.text(&[("trust_domain", domain.identity.name.as_str())])
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
    fn counted(&mut self, counters: &Counters) {
        let mut before = "";
        for counter in Counter::ALL {
            let Shown { name, label, help } = shown(*counter);
            if name != before {
                self.head(name, "counter", help);
            }
            before = name;
            self.sample(name, label, counters.value(*counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_one_name_stand_together() {
        let mut text = Exposition::of("td");
        text.counted(&Counters::default());
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
