use std::path::PathBuf;

use clap::Args;
use sekisho_ledger::{ConsistencyProof, Receipt, Subject, TrustPolicy, VerifiedReceipt};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::print;
use crate::verbs::checkpoints;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Proof file (c2sp.org/tlog-proof@v1), or a consistency proof
    file: PathBuf,
    /// Trust policy that names the log's key (c2sp.org/tlog-policy)
    #[arg(long, env = "SEKISHO_TRUST_POLICY")]
    policy: PathBuf,
    /// A checkpoint or proof file of before or after: also check that both are of one history of the log. What shows it
    /// is read from `<file>.consistency`, unless the file is that itself
    #[arg(long, env = "SEKISHO_CONSISTENT_WITH")]
    consistent_with: Option<PathBuf>,
}

/// Needs nothing but the files.
pub(crate) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let policy = TrustPolicy::parse(&checkpoints::read(&args.policy)?);
    let policy = policy.map_err(|e| Failure::failed(format!("{}: {e}", args.policy.display())))?;
    let denied = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Denied, format!("{}: not verified: {error}", args.file.display()))
    };
    let text = checkpoints::read(&args.file)?;
    if text.starts_with("old ") {
        return consistency(global, args, &policy, &text, denied);
    }
    let verified = Receipt::parse(&text).and_then(|receipt| receipt.verify(&policy)).map_err(|e| denied(&e))?;
    let mut shown = describe(&verified);
    if let Some(held) = &args.consistent_with {
        let beside = checkpoints::proof_beside(&args.file);
        let held = checkpoints::check(held, &verified.checkpoint, &beside, &policy)?;
        if let Some(members) = shown.as_object_mut() {
            members.insert("consistent_with_size".to_owned(), held.size.into());
        }
    }
    print(global.output, &shown, || describe_text(&shown))?;
    Ok(Exit::Ok)
}

/// A file that proves nothing but how the log grew.
fn consistency(
    global: &Global,
    args: &VerifyArgs,
    policy: &TrustPolicy,
    text: &str,
    denied: impl Fn(&dyn std::fmt::Display) -> Failure,
) -> Result<Exit, Failure> {
    let needs = "a consistency proof shows something of a checkpoint that you keep; name it with `--consistent-with`";
    let held = args.consistent_with.as_ref().ok_or_else(|| Failure::new(Exit::Usage, needs))?;
    let proof = ConsistencyProof::parse(text).map_err(|e| denied(&e))?;
    let new = policy.verify(&proof.checkpoint).map_err(|e| denied(&e))?;
    let held = checkpoints::check(held, &new, &args.file, policy)?;
    let shown = json!({"verified": true, "log": new.origin, "tree_size": new.size, "consistent_with_size": held.size});
    print(global.output, &shown, || {
        format!(
            "verified: the {} entries of {} and the {} that you keep are one history",
            new.size, new.origin, held.size
        )
    })?;
    Ok(Exit::Ok)
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
    if let Some(size) = shown.get("consistent_with_size") {
        out.push_str(&format!("consistent with the checkpoint of {size} entries\n"));
    }
    for pointer in ["/opened", "/record"] {
        if shown.pointer(pointer).is_some_and(|value| !value.is_null()) {
            out.push_str(&text(pointer));
            out.push('\n');
        }
    }
    out
}
