//! Alert rules, each with what to do, and series by which it fires and by which it does not.

use std::fmt::Write;

pub struct Alert {
    pub name: &'static str,
    pub expr: &'static str,
    /// How long it holds before the alert fires.
    pub hold: &'static str,
    pub severity: &'static str,
    pub summary: &'static str,
    pub action: &'static str,
    /// In promtool's form, a sample each minute.
    fires: &'static [(&'static str, &'static str)],
    /// Values with which it is quiet.
    quiet: &'static [(&'static str, &'static str)],
    /// Labels of the alert that fires.
    labels: &'static [(&'static str, &'static str)],
}

const DOMAIN: &[(&str, &str)] = &[("trust_domain", "example.org")];

pub const ALL: &[Alert] = &[
    Alert {
        name: "SekishoAttestationDenied",
        expr: "increase(sekisho_attestations_denied_total[10m]) > 0",
        hold: "0m",
        severity: "critical",
        summary: "A node proved which one it is, and its state was refused; it was withdrawn",
        action: "The server's log says what differed. Treat the machine as tampered with until that is explained; it \
            attests again by itself once its state is accepted.",
        fires: &[(r#"sekisho_attestations_denied_total{trust_domain="example.org"}"#, "0 0 1x28")],
        quiet: &[(r#"sekisho_attestations_denied_total{trust_domain="example.org"}"#, "3x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoAuthorityEnds",
        expr: "sekisho_authority_end_seconds - time() < 3600",
        hold: "5m",
        severity: "critical",
        summary: "The signing authority ends within an hour and was not replaced",
        action: "Read the server's log for `rotation`. A full disk or a log that takes no leaves stops it; `sekisho \
            doctor` names which.",
        fires: &[(r#"sekisho_authority_end_seconds{trust_domain="example.org"}"#, "4000x30")],
        quiet: &[(r#"sekisho_authority_end_seconds{trust_domain="example.org"}"#, "90000x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoSvidNotRenewed",
        expr: "sekisho_svid_not_after_seconds - time() < 60",
        hold: "1m",
        severity: "critical",
        summary: "An agent's or a sidecar's SVID ends within a minute, or there is none",
        action: "`sekisho why identity --pid <pid>` says what the process lacks, `sekisho doctor` whether the agent \
            reaches its server.",
        fires: &[("sekisho_svid_not_after_seconds", "600x30")],
        quiet: &[("sekisho_svid_not_after_seconds", "9000x30")],
        labels: &[],
    },
    Alert {
        name: "SekishoAgentNotConnected",
        expr: "sekisho_connected == 0",
        hold: "5m",
        severity: "warning",
        summary: "An agent does not reach its server; it goes on with what it holds",
        action: "Check the network and the server's `/readyz`. What the agent holds is valid until it expires.",
        fires: &[("sekisho_connected", "0x30")],
        quiet: &[("sekisho_connected", "1x30")],
        labels: &[],
    },
    Alert {
        name: "SekishoAgentBehind",
        expr: "sekisho_required_revision > sekisho_applied_revision",
        hold: "1m",
        severity: "critical",
        summary: "The stream of changes to an agent stalls while the server answers its calls",
        action: "The agent withholds new SVIDs until policy and revocations come. Look at what is between agent and \
            server; start the agent again.",
        fires: &[("sekisho_required_revision", "9x30"), ("sekisho_applied_revision", "8x30")],
        quiet: &[("sekisho_required_revision", "9x30"), ("sekisho_applied_revision", "9x30")],
        labels: &[],
    },
    Alert {
        name: "SekishoRecordsLost",
        expr: "increase(sekisho_spool_lost_records_total[10m]) > 0 or increase(sekisho_records_lost_total[10m]) > 0",
        hold: "0m",
        severity: "critical",
        summary: "Decisions or refusals were lost; the count is a leaf of the log",
        action: "Free space for the spool, raise `--spool-bytes`, or bring the server back.",
        fires: &[("sekisho_spool_lost_records_total", "0 5x30")],
        quiet: &[("sekisho_spool_lost_records_total", "5x30")],
        labels: &[],
    },
    Alert {
        name: "SekishoSpoolGrows",
        expr: "sekisho_spool_records > 10000",
        hold: "5m",
        severity: "warning",
        summary: "Records wait on a node and are not sent",
        action: "Check that the agent is connected, and that the server takes records (`sekisho doctor`).",
        fires: &[("sekisho_spool_records", "20000x30")],
        quiet: &[("sekisho_spool_records", "10x30")],
        labels: &[],
    },
    Alert {
        name: "SekishoManyDenials",
        expr: r#"sum by (src, dst) (rate(sekisho_decisions_total{effect="deny"}[5m])) > 1"#,
        hold: "5m",
        severity: "warning",
        summary: "One workload is denied more than once a second by another",
        action: "`sekisho decision list --effect deny` lists them, `sekisho why <id>` names the rule. It may be an \
            attack, or a policy that is wrong.",
        fires: &[(r#"sekisho_decisions_total{src="a",dst="b",effect="deny",rule="r"}"#, "0+120x30")],
        quiet: &[(r#"sekisho_decisions_total{src="a",dst="b",effect="allow",rule="r"}"#, "0+120x30")],
        labels: &[("src", "a"), ("dst", "b")],
    },
    Alert {
        name: "SekishoManyRefusals",
        expr: "rate(sekisho_refusals_total[5m]) > 1",
        hold: "5m",
        severity: "warning",
        summary: "The server refuses more than one call a second",
        action: "`sekisho decision list --effect refusal` lists refusals on nodes; the server's log names callers and \
            reasons.",
        fires: &[(r#"sekisho_refusals_total{trust_domain="example.org"}"#, "0+120x30")],
        quiet: &[(r#"sekisho_refusals_total{trust_domain="example.org"}"#, "0+6x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoDecisionsSlow",
        expr: "histogram_quantile(0.99, sum by (le) (rate(sekisho_decision_duration_seconds_bucket[5m]))) > 0.001",
        hold: "10m",
        severity: "warning",
        summary: "One decision in a hundred takes more than a millisecond",
        action: "Look for a policy that searches without an index (`sekisho policy check`), and for a machine \
            without spare CPU.",
        fires: &[
            (r#"sekisho_decision_duration_seconds_bucket{le="0.001"}"#, "0+1x30"),
            (r#"sekisho_decision_duration_seconds_bucket{le="0.01"}"#, "0+100x30"),
            (r#"sekisho_decision_duration_seconds_bucket{le="+Inf"}"#, "0+100x30"),
        ],
        quiet: &[
            (r#"sekisho_decision_duration_seconds_bucket{le="0.001"}"#, "0+100x30"),
            (r#"sekisho_decision_duration_seconds_bucket{le="+Inf"}"#, "0+100x30"),
        ],
        labels: &[],
    },
    Alert {
        name: "SekishoIssuanceSlow",
        expr: "histogram_quantile(0.99, sum by (le) (rate(sekisho_svid_issue_duration_seconds_bucket[5m]))) > 0.25",
        hold: "10m",
        severity: "warning",
        summary: "One issuance in a hundred takes more than a quarter of a second",
        action: "Each waits for the log's disk: compare with the disk's time for an fsync.",
        fires: &[
            (r#"sekisho_svid_issue_duration_seconds_bucket{result="issued",le="0.25"}"#, "0+1x30"),
            (r#"sekisho_svid_issue_duration_seconds_bucket{result="issued",le="1"}"#, "0+100x30"),
            (r#"sekisho_svid_issue_duration_seconds_bucket{result="issued",le="+Inf"}"#, "0+100x30"),
        ],
        quiet: &[
            (r#"sekisho_svid_issue_duration_seconds_bucket{result="issued",le="0.25"}"#, "0+100x30"),
            (r#"sekisho_svid_issue_duration_seconds_bucket{result="issued",le="+Inf"}"#, "0+100x30"),
        ],
        labels: &[],
    },
    Alert {
        name: "SekishoDetectionSlow",
        expr: "sum(rate(sekisho_detect_seconds_sum[10m])) / sum(rate(sekisho_detect_seconds_count[10m])) > 5",
        hold: "5m",
        severity: "warning",
        summary: "The mean time to detect is above five seconds: denials and refusals reach the server late",
        action: "Look for nodes that were not connected, for spools that grow, and for nodes whose clock is behind.",
        fires: &[
            (r#"sekisho_detect_seconds_sum{kind="deny"}"#, "0+90x30"),
            (r#"sekisho_detect_seconds_count{kind="deny"}"#, "0+10x30"),
        ],
        quiet: &[
            (r#"sekisho_detect_seconds_sum{kind="deny"}"#, "0+1x30"),
            (r#"sekisho_detect_seconds_count{kind="deny"}"#, "0+10x30"),
        ],
        labels: &[],
    },
    Alert {
        name: "SekishoLogDamaged",
        expr: "sekisho_log_damage > 0",
        hold: "0m",
        severity: "critical",
        summary: "Parts of the log are damaged on disk",
        action: "`sekisho ledger fsck --data <folder>` names the files; put them back from a copy.",
        fires: &[(r#"sekisho_log_damage{trust_domain="example.org"}"#, "1x30")],
        quiet: &[(r#"sekisho_log_damage{trust_domain="example.org"}"#, "0x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoClockAhead",
        expr: "sekisho_clock_ahead_seconds > 0",
        hold: "5m",
        severity: "critical",
        summary: "The server's clock is more than a day ahead of what is believed",
        action: "Set the clock; `sekisho doctor` shows by how much it is off. Nothing is deleted at once.",
        fires: &[(r#"sekisho_clock_ahead_seconds{trust_domain="example.org"}"#, "90000x30")],
        quiet: &[(r#"sekisho_clock_ahead_seconds{trust_domain="example.org"}"#, "0x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoPolicyRefused",
        expr: "sekisho_policy_folder_refused == 1",
        hold: "1m",
        severity: "warning",
        summary: "The policy folder holds a policy that is not taken; the last good one is in force",
        action: "`sekisho policy check <folder>` says what is wrong.",
        fires: &[(r#"sekisho_policy_folder_refused{trust_domain="example.org"}"#, "1x30")],
        quiet: &[(r#"sekisho_policy_folder_refused{trust_domain="example.org"}"#, "0x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoDangers",
        expr: "sekisho_dangers > 0",
        hold: "0m",
        severity: "warning",
        summary: "Settings are in force that weaken safety",
        action: "The program prints them at its start; remove them when their reason has passed.",
        fires: &[(r#"sekisho_dangers{trust_domain="example.org"}"#, "1x30")],
        quiet: &[(r#"sekisho_dangers{trust_domain="example.org"}"#, "0x30")],
        labels: DOMAIN,
    },
    Alert {
        name: "SekishoNetworkRulesMissing",
        expr: "sekisho_network_rules{state=\"missing\"} > 0",
        hold: "1m",
        severity: "critical",
        summary: "Rules of the network are recorded for a workload, and the kernel does not have them",
        action: "`sekisho network list` on that machine names the workload and the rule; start the workload again.",
        fires: &[(r#"sekisho_network_rules{state="missing"}"#, "1x30")],
        quiet: &[(r#"sekisho_network_rules{state="missing"}"#, "0x30")],
        labels: &[("state", "missing")],
    },
    Alert {
        name: "SekishoTaskRestarts",
        expr: "increase(sekisho_task_restarts_total[1h]) > 3",
        hold: "0m",
        severity: "warning",
        summary: "A long-running task of the server ends again and again",
        action: "The server's log says why; `sekisho doctor` (`tasks`) names the task.",
        fires: &[(r#"sekisho_task_restarts_total{trust_domain="example.org",task="scrub"}"#, "0+1x30")],
        quiet: &[(r#"sekisho_task_restarts_total{trust_domain="example.org",task="scrub"}"#, "4x30")],
        labels: &[("trust_domain", "example.org"), ("task", "scrub")],
    },
];

const HEAD: &str = "# Written by `cargo xtask gen` from crates/lab/src/monitoring.\n";

/// Prometheus' rules.
pub(super) fn rules() -> String {
    let mut out = format!("{HEAD}groups:\n- name: sekisho\n  rules:\n");
    for alert in ALL {
        let Alert { name, expr, hold, severity, summary, action, .. } = alert;
        // Writing to a string does not fail.
        let _written = write!(
            out,
            "  - alert: {name}\n    expr: {}\n    for: {hold}\n    labels:\n      severity: {severity}\n    \
             annotations:\n      summary: {}\n      action: {}\n",
            quoted(expr),
            quoted(summary),
            quoted(action)
        );
    }
    out
}

/// promtool's unit tests of them: `promtool test rules deploy/prometheus/alerts_test.yml`.
pub(super) fn tests() -> String {
    let mut out = format!("{HEAD}rule_files: [alerts.yml]\nevaluation_interval: 1m\ntests:\n");
    for alert in ALL {
        for (series, fires) in [(alert.fires, true), (alert.quiet, false)] {
            let _written = write!(out, "- interval: 1m\n  input_series:\n");
            for (series, values) in series {
                let _written = writeln!(out, "  - series: {}\n    values: {}", quoted(series), quoted(values));
            }
            let _written =
                write!(out, "  alert_rule_test:\n  - eval_time: {}\n    alertname: {}\n", when(alert), alert.name);
            if fires {
                let own = [("severity", alert.severity)];
                let labels = alert.labels.iter().chain(&own).map(|(name, value)| format!("{name}: {}", quoted(value)));
                let labels: Vec<_> = labels.collect();
                let _written = write!(
                    out,
                    "    exp_alerts:\n    - exp_labels: {{{}}}\n      exp_annotations:\n        summary: {}\n        \
                     action: {}\n",
                    labels.join(", "),
                    quoted(alert.summary),
                    quoted(alert.action)
                );
            } else {
                let _written = writeln!(out, "    exp_alerts: []");
            }
        }
    }
    out
}

/// When it has to fire: what happens only once shows for some minutes.
fn when(alert: &Alert) -> &'static str {
    if ["SekishoAttestationDenied", "SekishoRecordsLost"].contains(&alert.name) { "5m" } else { "25m" }
}

/// A YAML text in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
