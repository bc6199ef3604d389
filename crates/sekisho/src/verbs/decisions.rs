use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, table};
use crate::rest::Rest;

#[derive(Debug, Args)]
pub(crate) struct DecisionsArgs {
    /// Only these
    #[arg(long, env = "SEKISHO_EFFECT", value_enum)]
    effect: Option<Effect>,
    #[arg(long, env = "SEKISHO_LIMIT", default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Effect {
    Allow,
    Deny,
    /// A process that got no identity
    Refusal,
}

pub(crate) async fn run(global: &Global, args: DecisionsArgs) -> Result<Exit, Failure> {
    let effect = match args.effect {
        None => "",
        Some(Effect::Allow) => "&effect=allow",
        Some(Effect::Deny) => "&effect=deny",
        Some(Effect::Refusal) => "&effect=refusal",
    };
    let listed = Rest::new(&global.server_socket()).get(&format!("/v1/decisions?limit={}{effect}", args.limit)).await?;
    let rows: Vec<Value> = listed.as_array().cloned().unwrap_or_default();
    let columns = [
        ("ID", "/id"),
        ("EFFECT", "/effect"),
        ("METHOD", "/record/input/method"),
        ("PATH", "/record/input/path"),
        ("SUBJECT", "/record/input/subject/spiffe_id"),
        ("LOG INDEX", "/log_index"),
    ];
    print(global.output, &listed, || {
        let joined: Vec<Value> = rows.into_iter().map(join_path).collect();
        table(&joined, &columns)
    })?;
    Ok(Exit::Ok)
}

fn join_path(mut row: Value) -> Value {
    if let Some(path) = row.pointer_mut("/record/input/path") {
        let segments: Vec<&str> = path.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        *path = format!("/{}", segments.join("/")).into();
    }
    row
}
