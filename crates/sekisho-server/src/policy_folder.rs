//! Policy from a folder: each change is checked and becomes a revision; a broken one is refused and the last good
//! one stays.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use notify::{RecursiveMode, Watcher};
use sekisho_events::PolicyApplied;
use sekisho_policy::{PolicyError, Source, load_tested};
use sekisho_runtime::now;
use sekisho_store::{Expect, Item, PolicyRecord, Write};
use tokio::sync::mpsc;

use crate::domain::{Domain, Shared};
use crate::journal::{JournalError, Stamp, personal};
use crate::submit;

/// Policy revisions kept for replay.
const KEEP_REVISIONS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("policy folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
}

/// Checks a policy set, runs its own tests and makes it a revision. The same content again keeps its revision.
pub(crate) async fn apply(domain: &Domain, sources: Vec<Source>, by: &str) -> Result<u64, ApplyError> {
    // Loading and the set's own tests take their time.
    let tested = sekisho_runtime::blocking(move || load_tested(sources, now())).await;
    let set = tested.map_err(|error| PolicyError::Prepare(error.to_string()))??;
    let files = set.sources().iter().map(|source| (source.name.clone(), source.text.clone())).collect();
    // The transaction knows the revision.
    let policy = PolicyRecord { revision: 0, digest: set.digest(), at: now(), files };
    let prepare = || {
        let running = domain.view.read(|state| state.policy.clone());
        let expected = Item::default().expect(Expect::Policy(running.as_ref().map(|running| running.revision)));
        if let Some(running) = running.filter(|running| running.digest == policy.digest) {
            return Ok::<_, JournalError>((expected, Some(running.revision)));
        }
        let applied = PolicyApplied { by: personal(by.to_owned()), digest: policy.digest, revision: 0 };
        let write = Write::PutPolicy { policy: policy.clone(), keep: KEEP_REVISIONS };
        Ok((expected.write(write).record(Stamp::now(domain).leaf(applied)), None))
    };
    let (same, revision) = submit::change(domain, prepare).await?;
    if let Some(revision) = same {
        return Ok(revision);
    }
    let revision = revision.unwrap_or_default().0;
    tracing::info!(revision, by, "policy revision");
    Ok(revision)
}

/// The `.rego` files of a folder and their tests, by name.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<Source>, ApplyError> {
    let error = |source| ApplyError::Folder { path: folder.to_owned(), source };
    let mut sources = Vec::new();
    for item in std::fs::read_dir(folder).map_err(error)? {
        let path = item.map_err(error)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with('.') && (name.ends_with(".rego") || name.ends_with("_test.yaml")) {
            sources.push(Source { name, text: std::fs::read_to_string(&path).map_err(error)? });
        }
    }
    Ok(sources)
}

/// Follows a folder until the process ends.
pub(crate) async fn follow(domain: Shared, folder: PathBuf) -> Result<(), ApplyError> {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let watch_error = |e: notify::Error| ApplyError::Folder { path: folder.clone(), source: std::io::Error::other(e) };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel already says what there is to say.
            let _already_told = changed.try_send(());
        }
    })
    .map_err(watch_error)?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(watch_error)?;
    loop {
        // Editors write in several steps; the last of them counts.
        while tokio::time::timeout(std::time::Duration::from_millis(50), changes.recv())
            .await
            .is_ok_and(|m| m.is_some())
        {}
        let applied = match read_folder(&folder) {
            Ok(sources) => apply(&domain, sources, &folder.display().to_string()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &applied {
            tracing::error!(%error, "the policy folder was not taken; the last good revision stays in force");
        }
        let refused = applied.err().map(|error| error.to_string());
        *domain.policy_folder_refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        if changes.recv().await.is_none() {
            return Ok(());
        }
    }
}
