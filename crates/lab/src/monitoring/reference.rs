//! The reference page.

use std::fmt::Write;

use sekisho_runtime::metrics::registry::{ALL, Program};

use super::alerts;
use super::dashboards;

const HEAD: &str = "# Metrics

<!-- written by `cargo xtask gen` -->

Server, agent and sidecar serve `GET /metrics` in Prometheus' text format, to this machine only:

- the server on the socket of its API and, with `--metrics`, at an address;
- agent and sidecar on `metrics.sock` in their data folder (mode 0600), or where `--metrics` says.

Prometheus cannot scrape a Unix socket: give it `--metrics 127.0.0.1:9462` and the like
([how-to](how-to/prometheus.md)). Any local user can read such an address, and labels show which
services speak to which. Counters begin at zero with each start. A server's samples have a label
`trust_domain`.
";

pub(super) fn page() -> String {
    let mut out = HEAD.to_owned();
    for (program, title) in [(Program::Server, "Server"), (Program::Agent, "Agent"), (Program::Sidecar, "Sidecar")] {
        // Writing to a string does not fail.
        let _written = write!(out, "\n## {title}\n\n| metric | type | labels | |\n|---|---|---|---|\n");
        for metric in ALL.iter().filter(|metric| metric.of.contains(&program)) {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let _written = writeln!(
                out,
                "| `sekisho_{}` | {} | {} | {} |",
                metric.name,
                metric.kind.name(),
                labels.join(", "),
                metric.help
            );
        }
    }
    out += "\n## Alerts\n\n`deploy/prometheus/alerts.yml` has these rules. `promtool test rules` with\n";
    out += "`deploy/prometheus/alerts_test.yml` tests each of them.\n";
    for alert in alerts::ALL {
        let alerts::Alert { name, expr, hold, severity, summary, action, .. } = alert;
        let _written = write!(out, "\n### {name}\n\n{}\n\n", wrapped(&format!("{summary} ({severity}).")));
        let _written = write!(out, "{}\n\n", wrapped(&format!("When, for {hold}:")));
        let _written = write!(
            out,
            "```promql\n{}\n```\n\n{}\n",
            expr.replace(" > ", "\n  > ").replace(" / ", "\n  / "),
            wrapped(action)
        );
    }
    out += "\n## Dashboards\n\nFor Grafana, which asks for the Prometheus data source on import:\n\n";
    for dashboard in dashboards::ALL {
        let _written = writeln!(out, "- `deploy/grafana/{}.json`", dashboard.file);
    }
    out
}

/// Lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    let (mut out, mut columns) = (String::new(), 0);
    for word in text.split(' ') {
        let wide = word.chars().count();
        let gap = if columns == 0 {
            ""
        } else if columns + 1 + wide > 100 {
            "\n"
        } else {
            " "
        };
        columns = if gap == " " { columns + 1 + wide } else { wide };
        out.extend([gap, word]);
    }
    out
}
