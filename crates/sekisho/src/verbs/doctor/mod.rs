//! Checks, each with what was found and what to do.

mod agent;
mod check;
mod machine;
mod server;

use serde_json::{Value, json};

use self::check::Check;
use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, table};

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let mut checks = machine::checks();
    checks.extend(server::checks(global).await);
    checks.extend(agent::checks(global).await);
    let row = |check: &Check| {
        let (ok, found) = match &check.result {
            Ok(found) => (true, found),
            Err(found) => (false, found),
        };
        json!({"id": check.id, "ok": ok, "found": found, "fix": if ok { Value::Null } else { check.fix.into() }})
    };
    let rows: Vec<Value> = checks.iter().map(row).collect();
    let columns = [("CHECK", "/id"), ("OK", "/ok"), ("FOUND", "/found"), ("FIX", "/fix")];
    print(global.output, &json!(rows), || table(&rows, &columns))?;
    Ok(if checks.iter().all(|check| check.result.is_ok()) { Exit::Ok } else { Exit::Failed })
}
