//! Traces, profiles, coverage and timers as texts and as JSON. The members of the JSON have OPA's names.

use sekisho_policy::Secrets;
use sekisho_rego::tracers::{Line, Range, Report, Spent};
use serde_json::{Map, Value, json};

use crate::output::{Column, printable, table};

/// A line for each event.
pub(super) fn trace(lines: &[Line], omitted: usize, secrets: &Secrets) -> String {
    let width = lines.iter().map(|line| line.place().chars().count()).max().unwrap_or(0);
    let show = |text: &str| printable(&secrets.hide(text));
    let row = |line: &Line| format!("{:<width$} {}", line.place(), printable(&line.describe(&show)));
    let mut rows: Vec<String> = lines.iter().map(row).collect();
    if omitted > 0 {
        rows.push(format!("and {omitted} more"));
    }
    rows.join("\n")
}

pub(super) fn trace_json(lines: &[Line], secrets: &Secrets) -> Value {
    let event = |line: &Line| {
        let values: Vec<String> = line.values.iter().map(|value| secrets.hide(&value.to_string())).collect();
        json!({
            "Op": line.op.as_str(),
            "Text": line.text,
            "Location": {"file": line.file, "row": line.row, "col": line.column},
            "QueryID": line.query,
            "ParentID": line.parent,
            "Depth": line.depth,
            "Message": secrets.hide(&line.message),
            "Values": values,
        })
    };
    lines.iter().map(event).collect()
}

pub(super) fn profile(rows: &[Spent]) -> String {
    let columns: [Column<'_, Spent>; 6] = [
        ("TIME", &|row| duration(row.nanos)),
        ("EVALS", &|row| row.evals.to_string()),
        ("REDOS", &|row| row.redos.to_string()),
        ("STEPS", &|row| row.steps.to_string()),
        ("PLACE", &|row| format!("{}:{}:{}", row.file, row.row, row.column)),
        ("EXPRESSION", &|row| printable(&row.text)),
    ];
    table(rows, &columns)
}

pub(super) fn profile_json(rows: &[Spent]) -> Value {
    let row = |row: &Spent| {
        json!({
            "total_time_ns": row.nanos,
            "num_eval": row.evals,
            "num_redo": row.redos,
            "num_gen_expr": row.steps,
            "location": {"file": row.file, "row": row.row, "col": row.column},
        })
    };
    rows.iter().map(row).collect()
}

/// A line for each file, and one for all.
pub(super) fn coverage(report: &Report) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (name, file) in &report.files {
        let missing: Vec<String> = file.not_covered.iter().map(|range| place(range.start)).collect();
        let lines = format!("{}/{}", file.covered_lines, file.covered_lines + file.not_covered_lines);
        rows.push([name.clone(), lines, format!("{:.1}", file.percent()), missing.join(" ")]);
    }
    let (covered, not) = (report.covered_lines(), report.not_covered_lines());
    let lines = format!("{covered}/{}", covered + not);
    rows.push(["all".to_owned(), lines, format!("{:.1}", report.percent()), String::new()]);
    let cell = |at: usize| move |row: &[String; 4]| row.get(at).cloned().unwrap_or_default();
    let columns: [Column<'_, [String; 4]>; 4] =
        [("FILE", &cell(0)), ("LINES", &cell(1)), ("PERCENT", &cell(2)), ("NOT COVERED", &cell(3))];
    table(&rows, &columns)
}

fn place((line, column): (u32, u32)) -> String {
    format!("{line}:{column}")
}

pub(super) fn coverage_json(report: &Report) -> Value {
    let at = |(row, col): (u32, u32)| json!({"row": row, "col": col});
    let ranges = |ranges: &[Range]| {
        ranges.iter().map(|range| json!({"start": at(range.start), "end": at(range.end)})).collect::<Value>()
    };
    let mut files = Map::new();
    for (name, file) in &report.files {
        let members = json!({
            "covered": ranges(&file.covered),
            "not_covered": ranges(&file.not_covered),
            "covered_lines": file.covered_lines,
            "not_covered_lines": file.not_covered_lines,
            "coverage": file.percent(),
        });
        files.insert(name.clone(), members);
    }
    json!({
        "files": files,
        "covered_lines": report.covered_lines(),
        "not_covered_lines": report.not_covered_lines(),
        "coverage": report.percent(),
    })
}

pub(super) fn metrics(timers: &[(&str, u64)]) -> String {
    let columns: [Column<'_, (&str, u64)>; 2] = [("METRIC", &|row| row.0.to_owned()), ("TIME", &|row| duration(row.1))];
    table(timers, &columns)
}

/// A time in the unit that suits it.
pub(super) fn duration(nanos: u64) -> String {
    let scaled = |unit: f64| nanos as f64 / unit;
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", scaled(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} ms", scaled(1e6)),
        _ => format!("{:.2} s", scaled(1e9)),
    }
}
