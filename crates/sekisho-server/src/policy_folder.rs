//! Policy from a folder: each change is checked and becomes a revision; a broken one is refused and the last good
//! one stays.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use notify::{RecursiveMode, Watcher};
use sekisho_policy::Source;
use tokio::sync::mpsc;

use crate::caller::Operator;
use crate::command::Command;
use crate::commands::{ApplyError, ApplyPolicy};
use crate::domain::Shared;
use crate::run::Run;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("policy folder {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
}

/// The `.rego` files of a folder and their tests, by name.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<Source>, FolderError> {
    let error = |source| FolderError::Read { path: folder.to_owned(), source };
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
pub(crate) async fn follow(domain: Shared, folder: PathBuf) -> Result<(), FolderError> {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let watch_error = |e: notify::Error| FolderError::Read { path: folder.clone(), source: std::io::Error::other(e) };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel holds a notification already.
            let _already_notified = changed.try_send(());
        }
    })
    .map_err(watch_error)?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(watch_error)?;
    let by = Operator::of_folder(&folder);
    loop {
        // Editors write in several steps; the last of them counts.
        while tokio::time::timeout(std::time::Duration::from_millis(50), changes.recv())
            .await
            .is_ok_and(|m| m.is_some())
        {}
        let applied = match read_folder(&folder) {
            Ok(sources) => {
                ApplyPolicy { sources }.run(&Run { domain: &domain, caller: &by }).await.map_err(FolderError::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &applied {
            tracing::error!(%error, "the policy folder was refused; the last good revision stays in force");
        }
        let refused = applied.err().map(|error| error.to_string());
        *domain.watch.policy_folder_refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        domain.streams.followers.changed();
        if changes.recv().await.is_none() {
            return Ok(());
        }
    }
}
