//! Dashboards for Grafana, each a few panels; a panel is a question.

use serde_json::{Value, json};

pub struct Dashboard {
    pub file: &'static str,
    title: &'static str,
    pub panels: &'static [Panel],
}

pub struct Panel {
    title: &'static str,
    unit: &'static str,
    kind: &'static str,
    /// Queries with their legends.
    pub queries: &'static [(&'static str, &'static str)],
}

const fn graph(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, unit, kind: "timeseries", queries }
}

const fn number(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, unit, kind: "stat", queries }
}

pub const ALL: &[Dashboard] = &[
    Dashboard {
        file: "overview",
        title: "Sekisho: overview",
        panels: &[
            number("Agents", "short", &[("sum(sekisho_agents)", "agents")]),
            number(
                "Agents that are not connected",
                "short",
                &[("count(sekisho_connected) - sum(sekisho_connected)", "not connected")],
            ),
            number("Signing authority ends in", "s", &[("min(sekisho_authority_end_seconds) - time()", "left")]),
            number(
                "Mean time to detect",
                "s",
                &[("sum(sekisho_detect_seconds_sum) / sum(sekisho_detect_seconds_count)", "MTTD")],
            ),
            graph(
                "Decisions by effect",
                "ops",
                &[("sum by (effect) (rate(sekisho_decisions_total[5m]))", "{{effect}}")],
            ),
            graph(
                "Identities issued",
                "ops",
                &[
                    ("sum(rate(sekisho_x509_svids_issued_total[5m]))", "X.509"),
                    ("sum(rate(sekisho_jwt_svids_issued_total[5m]))", "JWT"),
                ],
            ),
            graph(
                "Refusals",
                "ops",
                &[("sum by (trust_domain) (rate(sekisho_refusals_total[5m]))", "{{trust_domain}}")],
            ),
            number("Settings that weaken safety", "short", &[("sum(sekisho_dangers)", "dangers")]),
        ],
    },
    Dashboard {
        file: "decisions",
        title: "Sekisho: decisions",
        panels: &[
            graph(
                "Denials by caller and service",
                "ops",
                &[(
                    r#"topk(10, sum by (src, dst) (rate(sekisho_decisions_total{effect="deny"}[5m])))"#,
                    "{{src}} → {{dst}}",
                )],
            ),
            graph(
                "Denials by rule",
                "ops",
                &[(r#"topk(10, sum by (rule) (rate(sekisho_decisions_total{effect="deny"}[5m])))"#, "{{rule}}")],
            ),
            graph(
                "Allows by caller and service",
                "ops",
                &[(
                    r#"topk(10, sum by (src, dst) (rate(sekisho_decisions_total{effect="allow"}[5m])))"#,
                    "{{src}} → {{dst}}",
                )],
            ),
            graph(
                "Time of a decision",
                "s",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(sekisho_decision_duration_seconds_bucket[5m])))",
                        "p50",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(sekisho_decision_duration_seconds_bucket[5m])))",
                        "p99",
                    ),
                ],
            ),
            graph(
                "From a denial to its record",
                "s",
                &[
                    ("histogram_quantile(0.5, sum by (le) (rate(sekisho_detect_seconds_bucket[5m])))", "p50"),
                    ("histogram_quantile(0.99, sum by (le) (rate(sekisho_detect_seconds_bucket[5m])))", "p99"),
                ],
            ),
            graph(
                "Recorded by the server",
                "ops",
                &[("sum by (kind) (rate(sekisho_recorded_decisions_total[5m]))", "{{kind}}")],
            ),
        ],
    },
    Dashboard {
        file: "identities",
        title: "Sekisho: identities",
        panels: &[
            graph(
                "SVIDs that agents and sidecars have end in",
                "s",
                &[("sekisho_svid_not_after_seconds - time()", "{{instance}}")],
            ),
            graph(
                "Time of an issuance",
                "s",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(sekisho_svid_issue_duration_seconds_bucket[5m])))",
                        "p50",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(sekisho_svid_issue_duration_seconds_bucket[5m])))",
                        "p99",
                    ),
                ],
            ),
            graph(
                "Issuances by result",
                "ops",
                &[("sum by (result) (rate(sekisho_svid_issue_duration_seconds_count[5m]))", "{{result}}")],
            ),
            graph("SVIDs held by agents", "short", &[("sekisho_svids_held", "{{instance}}")]),
            graph("Streams of workloads", "short", &[("sekisho_streams", "{{instance}}")]),
            graph(
                "Attestations",
                "ops",
                &[("sum by (trust_domain) (rate(sekisho_attestations_total[5m]))", "{{trust_domain}}")],
            ),
            graph("Entries", "short", &[("sekisho_registration_entries", "{{trust_domain}}")]),
            graph(
                "Changes of entries",
                "ops",
                &[("sum by (event) (rate(sekisho_entry_changes_total[5m]))", "{{event}}")],
            ),
        ],
    },
    Dashboard {
        file: "operations",
        title: "Sekisho: operations",
        panels: &[
            graph("Records that wait on nodes", "short", &[("sekisho_spool_records", "{{instance}}")]),
            graph(
                "Records lost",
                "ops",
                &[
                    ("sum(rate(sekisho_spool_lost_records_total[5m]))", "no space on a node"),
                    ("sum(rate(sekisho_records_lost_total[5m]))", "reported to the server"),
                ],
            ),
            graph("Size of the log", "short", &[("sekisho_log_size_entries", "{{trust_domain}}")]),
            number("Damage of the log", "short", &[("sum(sekisho_log_damage)", "parts")]),
            graph(
                "Revision of the state, and of each agent",
                "short",
                &[("sekisho_revision", "{{trust_domain}}"), ("sekisho_applied_revision", "{{instance}}")],
            ),
            graph("Policy revision", "short", &[("sekisho_policy_revision", "{{instance}}")]),
            graph("Tasks that run", "short", &[("sum by (task) (sekisho_task_running)", "{{task}}")]),
            graph("Restarts of tasks", "ops", &[("sum by (task) (rate(sekisho_task_restarts_total[5m]))", "{{task}}")]),
        ],
    },
];

pub(super) fn json(dashboard: &Dashboard) -> String {
    let panels: Vec<Value> = dashboard.panels.iter().enumerate().map(|(at, panel)| panel_json(at, panel)).collect();
    let source = json!({"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"});
    let whole = json!({
        "uid": format!("sekisho-{}", dashboard.file),
        "title": dashboard.title,
        "tags": ["sekisho"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    });
    serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n"
}

fn panel_json(at: usize, panel: &Panel) -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let target = |(at, (expr, legend)): (usize, &(&str, &str))| {
        let name = char::from(b'A' + u8::try_from(at).unwrap_or(25)).to_string();
        json!({"refId": name, "expr": expr, "legendFormat": legend, "datasource": source})
    };
    let targets: Vec<Value> = panel.queries.iter().enumerate().map(target).collect();
    json!({
        "id": at + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": source,
        "gridPos": {"x": (at % 2) * 12, "y": (at / 2) * 8, "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": targets,
    })
}
