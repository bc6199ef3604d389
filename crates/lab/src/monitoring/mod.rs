//! What operators watch with: the reference of metrics, alert rules with their tests, and dashboards, all from the
//! registry of metrics and the data here. `cargo xtask gen` writes them; a test compares them and runs each query.

pub mod alerts;
pub mod dashboards;
mod reference;

/// Every generated file, by its path in the repository.
pub fn files() -> Vec<(String, String)> {
    let mut out = vec![
        ("docs/metrics.md".to_owned(), reference::page()),
        ("deploy/prometheus/alerts.yml".to_owned(), alerts::rules()),
        ("deploy/prometheus/alerts_test.yml".to_owned(), alerts::tests()),
    ];
    out.extend(
        dashboards::ALL
            .iter()
            .map(|dashboard| (format!("deploy/grafana/{}.json", dashboard.file), dashboards::json(dashboard))),
    );
    out
}
