use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::registry::{Bound, Kind, Metric};

/// Combinations of labels of one metric; what comes later is counted together (law L9).
const MAX_SERIES: usize = 1_000;

/// Characters of a label's value that are kept.
const MAX_VALUE: usize = 256;

/// The values of one program, or of one trust domain of a server.
#[derive(Default)]
pub struct Metrics(Mutex<Values>);

#[derive(Default)]
struct Values {
    /// By name, and by labels as they are written.
    series: BTreeMap<&'static str, BTreeMap<String, Series>>,
    /// Kept, so that a known combination of labels is found without an allocation.
    labels: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Series {
    Number(f64),
    Histogram { below: Vec<u64>, count: u64, sum: f64 },
}

impl Metrics {
    /// Adds to a counter.
    pub fn add(&self, metric: &'static Metric, labels: &[&str], number: u64) {
        self.with(metric, labels, |series| {
            if let Series::Number(value) = series {
                *value += number as f64;
            }
        });
    }

    /// Sets a gauge, or a counter that is counted elsewhere.
    pub fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.with(metric, labels, |series| *series = Series::Number(value));
    }

    /// Counts a duration in a histogram.
    pub fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
        let Kind::Histogram(bounds) = metric.kind else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.with(metric, labels, |series| {
            if let Series::Histogram { below, count, sum } = series {
                let fits = bounds.iter().map(|bound| micros <= *bound);
                below.iter_mut().zip(fits).filter(|(_, fits)| *fits).for_each(|(below, _)| *below += 1);
                *count += 1;
                *sum += took.as_secs_f64();
            }
        });
    }

    fn with(&self, metric: &'static Metric, labels: &[&str], change: impl FnOnce(&mut Series)) {
        let mut values = self.lock();
        let Values { series, labels: text } = &mut *values;
        write_labels(text, metric, labels.iter().copied());
        let all = series.entry(metric.name).or_default();
        if !all.contains_key(text.as_str()) {
            if all.len() >= MAX_SERIES {
                write_labels(text, metric, std::iter::repeat("other"));
            }
            all.entry(text.clone()).or_insert_with(|| empty(metric.kind));
        }
        if let Some(series) = all.get_mut(text.as_str()) {
            change(series);
        }
    }

    /// In Prometheus' text format (0.0.4), each sample with these labels too.
    pub fn text(&self, constant: &[(&str, &str)]) -> String {
        let values = self.lock();
        let mut out = String::new();
        for (name, all) in &values.series {
            let Some(metric) = super::registry::named(name) else { continue };
            write_head(&mut out, metric);
            for (labels, series) in all {
                let fixed = constant.iter().map(|(name, value)| format!("{name}=\"{value}\""));
                let own = (!labels.is_empty()).then(|| labels.clone());
                let labels: Vec<String> = fixed.chain(own).collect();
                write_series(&mut out, metric, &labels.join(","), series);
            }
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(kind: Kind) -> Series {
    match kind {
        Kind::Counter | Kind::Gauge => Series::Number(0.0),
        Kind::Histogram(bounds) => Series::Histogram { below: vec![0; bounds.len()], count: 0, sum: 0.0 },
    }
}

/// Replaces `text` by the labels as the format has them. Values may be another program's choice: they are escaped, and
/// cut.
fn write_labels<'a>(text: &mut String, metric: &Metric, values: impl Iterator<Item = &'a str>) {
    text.clear();
    for (name, value) in metric.labels.iter().zip(values) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        write_value(text, value);
        text.push('"');
    }
}

fn write_value(text: &mut String, value: &str) {
    // As most values are: this runs for each request.
    if value.len() <= MAX_VALUE && !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return text.push_str(value);
    }
    for c in value.chars().take(MAX_VALUE) {
        match c {
            '\\' | '"' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

fn write_head(out: &mut String, metric: &Metric) {
    let Metric { name, help, kind, .. } = metric;
    // Writing to a string does not fail.
    let _written = writeln!(out, "# HELP sekisho_{name} {help}\n# TYPE sekisho_{name} {}", kind.name());
}

fn write_series(out: &mut String, metric: &Metric, labels: &str, series: &Series) {
    let name = metric.name;
    let braced = |labels: &str| if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _written = match (series, metric.kind) {
        (Series::Number(value), _) => writeln!(out, "sekisho_{name}{} {value}", braced(labels)),
        (Series::Histogram { below, count, sum }, Kind::Histogram(bounds)) => {
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, below) in bounds.iter().zip(below) {
                let _written =
                    writeln!(out, "sekisho_{name}_bucket{{{labels}{comma}le=\"{}\"}} {below}", seconds(*bound));
            }
            let all = braced(labels);
            writeln!(
                out,
                "sekisho_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n\
                 sekisho_{name}_sum{all} {sum}\nsekisho_{name}_count{all} {count}"
            )
        }
        (Series::Histogram { .. }, _) => Ok(()),
    };
}

fn seconds(bound: Bound) -> f64 {
    bound as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::registry::{DECISION_SECONDS, DECISIONS, SVID_NOT_AFTER};
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.add(&DECISIONS, &["a\"b", "c", "deny", "p.rego:3"], 2);
        metrics.add(&DECISIONS, &["a\"b", "c", "deny", "p.rego:3"], 1);
        metrics.set(&SVID_NOT_AFTER, &[], 1_800_000_000.0);
        metrics.observe(&DECISION_SECONDS, &[], Duration::from_micros(30));
        let text = metrics.text(&[("trust_domain", "example.org")]);
        for line in [
            r#"sekisho_decisions_total{trust_domain="example.org",src="a\"b",dst="c",effect="deny",rule="p.rego:3"} 3"#,
            r#"sekisho_svid_not_after_seconds{trust_domain="example.org"} 1800000000"#,
            r#"sekisho_decision_duration_seconds_bucket{trust_domain="example.org",le="0.000025"} 0"#,
            r#"sekisho_decision_duration_seconds_bucket{trust_domain="example.org",le="0.00005"} 1"#,
            r#"sekisho_decision_duration_seconds_bucket{trust_domain="example.org",le="+Inf"} 1"#,
            r#"sekisho_decision_duration_seconds_count{trust_domain="example.org"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(metrics.text(&[]).contains("\nsekisho_svid_not_after_seconds 1800000000\n"));
    }

    #[test]
    fn law_l9_labels_of_others_take_bounded_memory() {
        let metrics = Metrics::default();
        for number in 0..5_000 {
            metrics.add(&DECISIONS, &[&number.to_string(), "b", "allow", "r"], 1);
        }
        let text = metrics.text(&[]);
        assert_eq!(text.lines().count(), 2 + MAX_SERIES + 1);
        assert!(text.contains(r#"{src="other",dst="other",effect="other",rule="other"} 4000"#));
    }
}
