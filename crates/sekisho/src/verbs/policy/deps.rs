//! `sekisho policy deps`: the documents that a query depends on.

use std::path::PathBuf;

use clap::Args;
use sekisho_rego::syntax::Options;
use sekisho_rego::value::Value;
use serde_json::json;

use super::answers::as_json;
use super::workspace::Workspace;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, print, table};

#[derive(Debug, Args)]
pub(crate) struct DepsArgs {
    /// Folder with the `.rego` files
    folder: PathBuf,
    /// Query, such as `data.workload.authz.allow`
    query: String,
    /// Documents of data: `.json` or `.yaml` files, or folders with them; may be repeated
    #[arg(short, long, env = "SEKISHO_POLICY_DATA")]
    data: Vec<PathBuf>,
}

pub(super) fn run(global: &Global, args: &DepsArgs) -> Result<Exit, Failure> {
    let Workspace { policy, .. } = Workspace::load(&args.folder, &args.data)?;
    let options = Options { whole_negation: true, ..Options::default() };
    let query = policy.query_in(&args.query, options, &[], &[]).map_err(Failure::failed)?;
    let found = query.dependencies();
    let shown = json!({
        "base": found.base.iter().map(|path| terms(path)).collect::<Vec<_>>(),
        "virtual": found.rules.iter().map(|path| terms(path)).collect::<Vec<_>>(),
    });
    print(global.output, &shown, || {
        let base = found.base.iter().map(|path| ("base", reference(path)));
        let rows: Vec<_> = base.chain(found.rules.iter().map(|path| ("virtual", reference(path)))).collect();
        let columns: [Column<'_, (&str, String)>; 2] =
            [("KIND", &|row| row.0.to_owned()), ("DOCUMENT", &|row| row.1.clone())];
        table(&rows, &columns)
    })?;
    Ok(Exit::Ok)
}

/// A reference as OPA writes it in JSON: the first element is a variable.
fn terms(path: &[Value]) -> serde_json::Value {
    let kind = |at: usize, key: &Value| if at == 0 { "var" } else { key.type_name() };
    let terms = path.iter().enumerate();
    terms.map(|(at, key)| json!({"type": kind(at, key), "value": as_json(key)})).collect()
}

/// `input.headers["x-team"]`.
pub(super) fn reference(path: &[Value]) -> String {
    let mut out = String::new();
    for (at, key) in path.iter().enumerate() {
        let name = key.as_str().filter(|name| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        match name {
            Some(name) if at == 0 => out.push_str(name),
            Some(name) => out.push_str(&format!(".{name}")),
            None => out.push_str(&format!("[{key}]")),
        }
    }
    out
}
