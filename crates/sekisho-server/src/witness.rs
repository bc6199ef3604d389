//! Cosignatures: each new checkpoint is sent to the witnesses of a policy, and is published once enough of them have
//! signed it (c2sp.org/tlog-witness, tlog-policy).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use sekisho_disk::{DiskError, Ledger, write_atomic};
use sekisho_ledger::{Checkpoint, ConsistencyProof, Note, NoteError, TrustPolicy, VerifierKey, cosignatures};
use sekisho_net::{NetError, WebAnswer, WebClient, WebPost, WebPrefix};
use sekisho_runtime::Stop;

/// How often the log is looked at for entries that are not cosigned yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What c2sp.org/tlog-witness has an answer of 409 say, that says a size.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum WitnessError {
    #[error("it cannot be reached: {0}")]
    Net(#[from] NetError),
    #[error("no proof could be made for it: {0}")]
    Disk(#[from] DiskError),
    #[error("its cosignature is not good: {0}")]
    Signature(#[from] NoteError),
    #[error("its answer is not readable")]
    Form,
    #[error(
        "it has cosigned {theirs} entries of this log, which has {ours}: entries were lost, as by restoring a file \
            system's snapshot. Take a copy of the folder, and bring the newer log back or continue under a new origin \
            by `sekisho restore`"
    )]
    Ahead { theirs: u64, ours: u64 },
    #[error(
        "it has cosigned another history of this log with {0} entries: the log was changed, or two servers write one \
            log"
    )]
    Fork(u64),
    #[error("it says that the log did not only grow (422): the log was changed, or two servers write one log")]
    NotGrown,
    #[error("it does not know this log (404); give its operator the log's origin and key")]
    UnknownLog,
    #[error("it does not accept this log's key (403); give its operator the log's origin and key")]
    UnknownKey,
    #[error("it answered with status {0}")]
    Status(u16),
}

struct Target {
    key: VerifierKey,
    prefix: WebPrefix,
    /// What the witness has cosigned, as far as is known here.
    known: AtomicU64,
}

/// A policy's witnesses, and the newest checkpoint that satisfies it.
pub(crate) struct Witnesses {
    policy: TrustPolicy,
    targets: Vec<Target>,
    client: WebClient,
    file: PathBuf,
    cosigned: RwLock<Option<(u64, Arc<str>)>>,
}

impl Witnesses {
    /// Reads the policy of `--witnesses`, and the cosigned checkpoint that was published last.
    pub(crate) fn open(policy: &str, authorities: &[u8], data: &Path, ledger: &Ledger) -> Result<Self, String> {
        let own = VerifierKey::parse(ledger.verifier()).map_err(|error| error.to_string())?;
        let policy = TrustPolicy::for_log(policy, &own).map_err(|error| error.to_string())?;
        let target = |witness: &sekisho_ledger::Witness| {
            let prefix = WebPrefix::parse(witness.url.as_deref()?);
            Some(prefix.map(|prefix| Target { key: witness.key.clone(), prefix, known: AtomicU64::new(0) }))
        };
        let targets: Vec<Target> = policy.witnesses().iter().filter_map(target).collect::<Result<_, _>>()?;
        if targets.is_empty() {
            return Err("no witness in it has a URL, so none can be asked".to_owned());
        }
        let client = WebClient::new(authorities).map_err(|error| error.to_string())?;
        let file = data.join("ledger/cosigned");
        let stored = std::fs::read_to_string(&file).ok().and_then(|note| {
            let checkpoint = policy.verify(&note).ok()?;
            let same = ledger.root(checkpoint.size) == Some(checkpoint.root);
            same.then(|| (checkpoint.size, Arc::from(note)))
        });
        Ok(Self { policy, targets, client, file, cosigned: RwLock::new(stored) })
    }

    /// The newest checkpoint with enough cosignatures, and its size.
    pub(crate) fn cosigned(&self) -> Option<(u64, Arc<str>)> {
        self.cosigned.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks all witnesses to cosign the newest checkpoint; whether the policy is satisfied then.
    async fn round(&self, ledger: &Ledger) -> bool {
        let note = ledger.checkpoint();
        let Some(checkpoint) = Note::parse(&note).ok().and_then(|note| Checkpoint::parse(note.text()).ok()) else {
            return false;
        };
        let size = checkpoint.size;
        if self.cosigned().is_some_and(|(cosigned, _)| cosigned >= size) {
            return true;
        }
        let answers = join_all(self.targets.iter().map(|target| self.ask(target, ledger, size, &note))).await;
        let mut cosigned = note.to_string();
        for (target, answer) in self.targets.iter().zip(answers) {
            match answer {
                Ok(lines) => cosigned.push_str(&lines),
                Err(error) => tracing::error!(witness = target.key.name(), %error, "a witness did not cosign the \
                    checkpoint"),
            }
        }
        if self.policy.verify(&cosigned).is_err() {
            return false;
        }
        if let Err(error) = write_atomic(&self.file, cosigned.as_bytes()) {
            tracing::error!(%error, "the cosigned checkpoint was not written to disk; it is published nevertheless");
        }
        let newest = Some((size, Arc::from(cosigned)));
        *self.cosigned.write().unwrap_or_else(PoisonError::into_inner) = newest;
        true
    }

    /// The signature lines of one witness. One whose state is not known here says it, and is asked once more.
    async fn ask(&self, target: &Target, ledger: &Ledger, size: u64, note: &str) -> Result<String, WitnessError> {
        for _attempt in 0..2 {
            let old_size = target.known.load(Ordering::Relaxed).min(size);
            let (ledger, checkpoint) = (ledger.clone(), note.to_owned());
            let path = move || if old_size == 0 { Ok(vec![]) } else { ledger.consistency_path(old_size, size) };
            let path = sekisho_runtime::blocking(path).await.map_err(|_| WitnessError::Form)??;
            let body = ConsistencyProof { old_size, path, checkpoint }.to_string();
            let post = WebPost {
                name: "add-checkpoint",
                content_type: "text/plain; charset=utf-8",
                bearer: None,
                body,
                reads_answer: true,
            };
            let answer = self.client.post(&target.prefix, post).await?;
            match answer.status.as_u16() {
                200 => {
                    let answer = std::str::from_utf8(&answer.body).map_err(|_| WitnessError::Form)?;
                    let lines = cosignatures(note, answer, &target.key)?;
                    target.known.store(size, Ordering::Relaxed);
                    return Ok(lines);
                }
                409 => {
                    let theirs = size_of(&answer).ok_or(WitnessError::Status(409))?;
                    if theirs > size {
                        return Err(WitnessError::Ahead { theirs, ours: size });
                    }
                    if theirs == old_size {
                        return Err(WitnessError::Fork(theirs));
                    }
                    target.known.store(theirs, Ordering::Relaxed);
                }
                422 => return Err(WitnessError::NotGrown),
                404 => return Err(WitnessError::UnknownLog),
                403 => return Err(WitnessError::UnknownKey),
                other => return Err(WitnessError::Status(other)),
            }
        }
        Err(WitnessError::Status(409))
    }
}

/// The size in an answer of 409: decimal, and a newline.
fn size_of(answer: &WebAnswer) -> Option<u64> {
    let typed = answer.content_type.split(';').next().is_some_and(|name| name.trim() == SIZE_TYPE);
    let text = std::str::from_utf8(&answer.body).ok().filter(|_| typed)?.strip_suffix('\n')?;
    text.parse().ok().filter(|size: &u64| size.to_string() == text)
}

/// Has the log cosigned as it grows. After a failure the witnesses are left alone for longer and longer.
pub(crate) async fn run(witnesses: Arc<Witnesses>, ledger: Ledger, stop: Stop) {
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = if witnesses.round(&ledger).await { LOOK_EVERY } else { (pause * 2).min(LONGEST_PAUSE) };
    }
}
