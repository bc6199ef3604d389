//! Checks, each with what was found and what to do.

mod agent;
mod check;
mod kernel_rules;
mod machine;
mod server;

use serde::Serialize;

use self::check::Check;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, mark, print, table};
use crate::progress::Progress;

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let progress = Progress::of("checking");
    let mut checks = machine::checks();
    checks.extend(kernel_rules::checks());
    checks.extend(server::checks(global).await);
    checks.extend(agent::checks(global).await);
    drop(progress);
    let rows: Vec<Row> = checks.iter().map(Row::of).collect();
    let name = |row: &Row| row.of.as_ref().map_or_else(|| row.id.to_owned(), |of| format!("{} of {of}", row.id));
    let columns: [Column<'_, Row>; 2] = [
        ("CHECK", &|row| format!("{} {}", mark(row.ok), name(row))),
        ("FOUND", &|row| row.found.clone() + &row.fix.map(|fix| format!("\n→ {fix}")).unwrap_or_default()),
    ];
    print(global.output, &rows, || table(&rows, &columns))?;
    Ok(if checks.iter().all(|check| check.result.is_ok()) { Exit::Ok } else { Exit::Failed })
}

/// A check as it is shown.
#[derive(Serialize)]
struct Row {
    id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    ok: bool,
    found: String,
    fix: Option<&'static str>,
}

impl Row {
    fn of(check: &Check) -> Self {
        let (Ok(found) | Err(found)) = &check.result;
        let ok = check.result.is_ok();
        Self { id: check.id, of: check.of.clone(), ok, found: found.clone(), fix: (!ok).then_some(check.fix) }
    }
}
