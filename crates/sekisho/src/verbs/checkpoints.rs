//! Checkpoints that an auditor keeps, and consistency proofs between two of them, as files.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_api::ConsistencyForm;
use sekisho_ledger::{Checkpoint, ConsistencyProof, Hash, Note, TlogProof, TrustPolicy, check_consistent};

use crate::exit::{Exit, Failure};
use crate::reach;
use crate::rest::Rest;

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| reach::unreadable(path, &e))
}

/// The signed checkpoint in a file: a checkpoint, or a proof file that holds one.
pub(crate) fn note_in(path: &Path) -> Result<String, Failure> {
    let text = read(path)?;
    let note = match text.starts_with("c2sp.org/tlog-proof@") {
        true => TlogProof::parse(&text).map(|proof| proof.checkpoint).map_err(|e| e.to_string()),
        false => Note::parse(&text).map(|_| text).map_err(|e| e.to_string()),
    };
    note.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
}

fn unverified(note: &str) -> Result<Checkpoint, Failure> {
    let note = Note::parse(note).map_err(Failure::failed)?;
    Checkpoint::parse(note.text()).map_err(Failure::failed)
}

/// Where the consistency proof of a proof file is looked for.
pub(crate) fn proof_beside(file: &Path) -> PathBuf {
    file.with_added_extension("consistency")
}

/// Asks the server for the proof between two checkpoints; none is needed, and none comes, if they are of one size.
pub(crate) async fn fetch(rest: &Rest, one: &str, other: &str) -> Result<Option<String>, Failure> {
    let (first, second) = (unverified(one)?, unverified(other)?);
    if first.size == second.size {
        return Ok(None);
    }
    let (old, new, checkpoint) =
        if first.size < second.size { (first.size, second.size, other) } else { (second.size, first.size, one) };
    let shown: ConsistencyForm = rest.get(&format!("/v1/log/consistency/{old}/{new}")).await?;
    let hash = |text: &String| BASE64.decode(text).ok().and_then(|bytes| Hash::try_from(bytes).ok());
    let path: Option<Vec<Hash>> = shown.path.iter().map(hash).collect();
    let path = path.ok_or_else(|| Failure::failed("the server's answer holds no path"))?;
    Ok(Some(ConsistencyProof { old_size: old, path, checkpoint: checkpoint.to_owned() }.to_string()))
}

/// Checks that the kept checkpoint in `held` and `shown` are of one history. `proof` is the file with what shows it.
pub(crate) fn check(
    held: &Path,
    shown: &Checkpoint,
    proof: &Path,
    policy: &TrustPolicy,
) -> Result<Checkpoint, Failure> {
    let denied = |error: String| Failure::new(Exit::Denied, format!("{}: not verified: {error}", held.display()));
    let held = policy.verify(&note_in(held)?).map_err(|e| denied(e.to_string()))?;
    let proof = match proof.exists() {
        true => Some(ConsistencyProof::parse(&read(proof)?).map_err(|e| denied(e.to_string()))?),
        false => None,
    };
    check_consistent(&held, shown, proof.as_ref(), policy).map_err(|e| denied(e.to_string()))?;
    Ok(held)
}
