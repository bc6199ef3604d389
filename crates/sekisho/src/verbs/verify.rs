use std::path::PathBuf;

use clap::Args;
use sekisho_ledger::{Receipt, Subject, TrustPolicy, VerifiedReceipt};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::print;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Proof file (c2sp.org/tlog-proof@v1)
    file: PathBuf,
    /// Trust policy that names the log's key (c2sp.org/tlog-policy)
    #[arg(long, env = "SEKISHO_TRUST_POLICY")]
    policy: PathBuf,
}

/// Needs nothing but the two files.
pub(crate) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())));
    let policy = TrustPolicy::parse(&read(&args.policy)?);
    let policy = policy.map_err(|e| Failure::failed(format!("{}: {e}", args.policy.display())))?;
    match Receipt::parse(&read(&args.file)?).and_then(|receipt| receipt.verify(&policy)) {
        Ok(verified) => {
            let shown = describe(&verified);
            print(global.output, &shown, || describe_text(&shown))?;
            Ok(Exit::Ok)
        }
        Err(error) => Err(Failure::new(Exit::Denied, format!("{}: not verified: {error}", args.file.display()))),
    }
}

fn describe(verified: &VerifiedReceipt) -> Value {
    let leaf = verified.leaf.encode().ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let (record, opened) = match &verified.subject {
        Subject::Record { record, .. } => (serde_json::from_str(record).ok(), None),
        Subject::Leaf { openings } => {
            let opened: serde_json::Map<String, Value> =
                openings.iter().map(|o| (o.field.clone(), o.value.as_str().into())).collect();
            (None::<Value>, Some(opened))
        }
    };
    json!({
        "verified": true,
        "log": verified.checkpoint.origin,
        "tree_size": verified.checkpoint.size,
        "index": verified.index,
        "leaf": leaf,
        "opened": opened,
        "record": record,
    })
}

fn describe_text(shown: &Value) -> String {
    let text = |pointer: &str| {
        shown.pointer(pointer).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default()
    };
    let mut out = format!(
        "verified: entry {} of {} ({} entries)\n{}\n",
        text("/index"),
        text("/log"),
        text("/tree_size"),
        text("/leaf")
    );
    for pointer in ["/opened", "/record"] {
        if shown.pointer(pointer).is_some_and(|value| !value.is_null()) {
            out.push_str(&text(pointer));
            out.push('\n');
        }
    }
    out
}
