//! Under which origin and key the log goes on (decisions/0018).
//!
//! A log has one origin for its trust domain and server. When entries that were published may be missing, as after the
//! restore of an older copy, the log goes on under a new origin and a new key, and its first new leaf says what came
//! before: so no two checkpoints of one origin and size can differ. The file `ledger/origin` says which origin it is;
//! replacing that file is the step that counts, and what follows it is done again at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sekisho_disk::{DiskError, Ledger, Recovered, private_folder, write_atomic};
use sekisho_events::{LeafError, LogContinued, OlderLogAccepted};
use sekisho_keys::{KeyError, load, load_or_create};
use sekisho_ledger::{Checkpoint, Hash, NoteSigner};
use sekisho_runtime::instant;
use sekisho_types::{Digest, SignatureAlgorithm, Signer, TrustDomain};
use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::journal::JournalError;

/// How long the end of an earlier writer of this process is waited for.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "the log here has the origin `{found}`, so it is not of trust domain `{asked}`; give its own `--trust-domain`"
    )]
    OtherTrustDomain { asked: String, found: String },
    #[error("{0} is not readable as the origin of a log; restore the folder from a backup")]
    Form(String),
    #[error("the log's new checkpoint: {0}")]
    Sign(String),
}

/// What the log was before it went on under its origin of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Earlier {
    event: String,
    origin: String,
    size: u64,
    root: String,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginForm {
    origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    continues: Option<Earlier>,
}

/// A log that is open, and what it was before.
pub(crate) struct Opened {
    pub ledger: Ledger,
    pub recovered: Recovered,
    pub origin: String,
    pub continues: Option<Earlier>,
}

/// Opens the log of the server's folder `data`, or begins one under an origin of its own.
pub(crate) fn open(data: &Path, trust_domain: &TrustDomain) -> Result<Opened, LineageError> {
    let ledger = data.join("ledger");
    let form = match stored(data, trust_domain)? {
        Some(form) => form,
        None => {
            let form = OriginForm { origin: new_origin(trust_domain), continues: None };
            private_folder(&ledger)?;
            write(&ledger, &form)?;
            form
        }
    };
    let keys = data.join("keys");
    private_folder(&keys)?;
    let path = key_path(&keys, &form);
    // Only the key of a log that has not begun is made here: a later one was there before its origin was.
    let key: Arc<dyn Signer> = match form.continues.is_none() && !ledger.join("wal").exists() {
        true => Arc::new(load_or_create(&path, SignatureAlgorithm::Ed25519)?),
        false => Arc::new(load(&path, SignatureAlgorithm::Ed25519)?),
    };
    if let Some(earlier) = &form.continues {
        resign(&ledger, earlier, &form.origin, key.as_ref())?;
    }
    let (ledger, recovered) = Ledger::open(&ledger, &form.origin, key)?;
    Ok(Opened { ledger, recovered, origin: form.origin, continues: form.continues })
}

/// The event of a log that goes on after `--danger-accept-older-log`, and not after a restore.
pub(crate) const OLDER_LOG_ACCEPTED: &str = "danger: older log accepted";

/// Lets the log `old` of the folder `data` go on under a new origin and key. `event` and `reason` stand in the leaf by
/// which it then begins.
pub(crate) fn start_new_origin(
    data: &Path,
    trust_domain: &TrustDomain,
    old: Opened,
    event: &str,
    reason: &str,
) -> Result<String, LineageError> {
    let size = old.recovered.size;
    let root = old.ledger.root(size).ok_or(DiskError::Inconsistent("tiles of the checkpoint are missing"))?;
    let (event, reason) = (event.to_owned(), reason.to_owned());
    let earlier = Earlier { event, origin: old.origin, size, root: hex::encode(root), reason };
    drop(old.ledger);
    let form = OriginForm { origin: new_origin(trust_domain), continues: Some(earlier) };
    load_or_create(&key_path(&data.join("keys"), &form), SignatureAlgorithm::Ed25519)?;
    write(&data.join("ledger"), &form)?;
    Ok(form.origin)
}

/// Opens a log whose earlier writer in this process may not have stopped yet. On a simulated machine that writer is a
/// task of this very thread.
pub(crate) async fn open_when_closed(data: &Path, trust_domain: &TrustDomain) -> Result<Opened, LineageError> {
    let until = instant() + CLOSED_WITHIN;
    loop {
        match open(data, trust_domain) {
            Err(LineageError::Disk(DiskError::InUse(_))) if instant() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened,
        }
    }
}

/// Refuses a folder whose log is of another trust domain. Reads only.
pub(crate) fn check_trust_domain(data: &Path, trust_domain: &TrustDomain) -> Result<(), LineageError> {
    stored(data, trust_domain).map(drop)
}

/// Logs what the log was before, if it goes on under a new origin and nothing is logged under that yet.
pub(crate) async fn log_earlier(domain: &Domain, continues: Option<Earlier>) -> Result<bool, JournalError> {
    let Some(earlier) = continues.filter(|earlier| earlier.size == domain.log.ledger.size()) else { return Ok(false) };
    let (old_origin, old_size, reason) = (earlier.origin, earlier.size, earlier.reason);
    let old_root = Digest::parse(&earlier.root).map_err(|_| LeafError::Field("old_root"))?;
    let appended = if earlier.event == OLDER_LOG_ACCEPTED {
        let (old_origin, old_root, old_size) = (Some(old_origin), Some(old_root), Some(old_size));
        domain.journal().append(OlderLogAccepted { old_origin, old_root, old_size, reason }).await
    } else {
        domain.journal().append(LogContinued { old_origin, old_root, old_size, reason }).await
    };
    let index = appended?;
    domain.log.ledger.checkpoint_covering(index).await.map_err(|error| JournalError::Disk(Arc::new(error)))?;
    Ok(true)
}

/// What the folder says of its log's origin; for one of an earlier release, what that release gave it.
fn stored(data: &Path, trust_domain: &TrustDomain) -> Result<Option<OriginForm>, LineageError> {
    let ledger = data.join("ledger");
    let path = ledger.join("origin");
    let form = match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|_| LineageError::Form(path.display().to_string()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            earlier_release(&ledger, trust_domain).map(|origin| OriginForm { origin, continues: None })
        }
        Err(source) => return Err(DiskError::Io { path, source }.into()),
    };
    let first = format!("{trust_domain}/sekisho");
    match form {
        Some(form) if form.origin != first && !form.origin.starts_with(&format!("{first}/")) => {
            Err(LineageError::OtherTrustDomain { asked: trust_domain.to_string(), found: form.origin })
        }
        form => Ok(form),
    }
}

/// The origin of a log that has no file to say it. Its checkpoint does; without one, all origins were of this form.
fn earlier_release(ledger: &Path, trust_domain: &TrustDomain) -> Option<String> {
    let note = std::fs::read_to_string(ledger.join("checkpoint")).unwrap_or_default();
    let named = note.lines().next().filter(|origin| origin.ends_with("/sekisho"));
    let any = ledger.join("wal").exists() || ledger.join("tile").exists();
    named.map(str::to_owned).or_else(|| any.then(|| format!("{trust_domain}/sekisho")))
}

fn new_origin(trust_domain: &TrustDomain) -> String {
    format!("{trust_domain}/sekisho/{}", sekisho_runtime::random_hex(8))
}

fn write(ledger: &Path, form: &OriginForm) -> Result<(), LineageError> {
    let bytes = serde_json::to_vec(form).map_err(|error| LineageError::Sign(error.to_string()))?;
    Ok(write_atomic(&ledger.join("origin"), &bytes)?)
}

/// The first key has a name of its own; later ones go by the last part of their origin.
fn key_path(keys: &Path, form: &OriginForm) -> PathBuf {
    match (&form.continues, form.origin.rsplit_once('/')) {
        (Some(_), Some((_, id))) => keys.join(format!("log-{id}.key")),
        _ => keys.join("log.key"),
    }
}

/// Puts a checkpoint under the new origin in the place of the last one under the old.
fn resign(ledger: &Path, earlier: &Earlier, origin: &str, key: &dyn Signer) -> Result<(), LineageError> {
    let path = ledger.join("checkpoint");
    let note = std::fs::read_to_string(&path).unwrap_or_default();
    let old = note.lines().next().is_none_or(|line| line == earlier.origin);
    let root = hex::decode(&earlier.root).ok().and_then(|bytes| Hash::try_from(bytes).ok());
    let Some(root) = root.filter(|_| old) else { return Ok(()) };
    let sign = |error: String| LineageError::Sign(error);
    let checkpoint = Checkpoint { origin: origin.to_owned(), size: earlier.size, root };
    let signer = NoteSigner::new(origin, key).map_err(|error| sign(error.to_string()))?;
    let signed = signer.sign(&checkpoint.to_string()).map_err(|error| sign(error.to_string()))?;
    Ok(write_atomic(&path, signed.as_bytes())?)
}

#[cfg(test)]
mod tests;
