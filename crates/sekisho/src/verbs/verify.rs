use std::path::PathBuf;

use clap::Args;
use sekisho_events::{Receipt, Subject, VerifiedReceipt};
use sekisho_ledger::{ConsistencyProof, TrustPolicy};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::print;
use crate::verbs::checkpoints;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Proof file (c2sp.org/tlog-proof@v1), or a consistency proof
    file: PathBuf,
    /// Trust policy that names the log's key (c2sp.org/tlog-policy)
    #[arg(long, env = "SEKISHO_TRUST_POLICY")]
    trust_policy: PathBuf,
    /// An earlier or later checkpoint or proof file: also check that both are of one history of the log. The
    /// proof is read from `<file>.consistency`, unless the file is that proof itself
    #[arg(long, env = "SEKISHO_CONSISTENT_WITH")]
    consistent_with: Option<PathBuf>,
}

/// Needs nothing but the files.
pub(crate) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let policy = TrustPolicy::parse(&checkpoints::read(&args.trust_policy)?);
    let policy = policy.map_err(|e| Failure::failed(format!("{}: {e}", args.trust_policy.display())))?;
    let denied = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Denied, format!("{}: not verified: {error}", args.file.display()))
    };
    let text = checkpoints::read(&args.file)?;
    if text.starts_with("old ") {
        return consistency(global, args, &policy, &text, denied);
    }
    let verified = Receipt::parse(&text).and_then(|receipt| receipt.verify(&policy)).map_err(|e| denied(&e))?;
    let mut shown = describe(&verified);
    let mut consistent_with = None;
    if let Some(held) = &args.consistent_with {
        let beside = checkpoints::proof_beside(&args.file);
        let held = checkpoints::check(held, &verified.checkpoint, &beside, &policy)?;
        consistent_with = Some(held.size);
        if let Some(members) = shown.as_object_mut() {
            members.insert("consistent_with_size".to_owned(), held.size.into());
        }
    }
    print(global.output, &shown, || describe_text(&verified, consistent_with))?;
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
            "verified: the {} leaves of {} and the {} that you keep are one history",
            new.size, new.origin, held.size
        )
    })?;
    Ok(Exit::Ok)
}

fn describe(verified: &VerifiedReceipt) -> Value {
    let leaf = verified.leaf.encode().ok().and_then(|encoded| serde_json::from_slice::<Value>(&encoded.leaf).ok());
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
        "says": verified.leaf.event.says(),
        "leaf": leaf,
        "opened": opened,
        "record": record,
    })
}

/// For people: what is proved, the leaf as it is in the log, and what its proof opens.
fn describe_text(verified: &VerifiedReceipt, consistent_with: Option<u64>) -> String {
    let (log, leaf) = (&verified.checkpoint, &verified.leaf);
    let mut lines = vec![
        format!("verified: leaf {} of {} ({} leaves)", verified.index, log.origin, log.size),
        format!("{}: {}", leaf.at, leaf.event.says()),
    ];
    lines.extend(leaf.encode().ok().map(|encoded| String::from_utf8_lossy(&encoded.leaf).into_owned()));
    lines.extend(consistent_with.map(|size| format!("consistent with the checkpoint of {size} leaves")));
    match &verified.subject {
        Subject::Record { record, .. } => lines.push(record.clone()),
        Subject::Leaf { openings } => {
            lines.extend(openings.iter().map(|opening| format!("{}: {}", opening.field, opening.value)));
        }
    }
    lines.join("\n") + "\n"
}
