//! What nodes showed when they proved themselves: a file each, under the hash by which the log names it.
//!
//! The last file of each node is kept, and for a time those of nodes that were refused or are gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use sekisho_disk::{DiskError, private_folder, write_atomic};
use sekisho_evidence::node::ShownEvidence;
use sekisho_ledger::sha256_of;
use sekisho_types::{Digest, SpiffeId, UnixTime};

/// Its name in the server's folder.
pub(crate) const NAME: &str = "evidence";
/// Files of nodes that were refused or are gone. Of more, the newest are kept.
const UNNAMED_FILES: usize = 256;
/// Files of one node that was refused. Of more, the newest are kept, so that no node fills the disk, or takes the place
/// of what others showed.
const REFUSED_FILES: usize = 4;
/// Nodes whose refused files are counted. Of more, those of some are left to retention.
const COUNTED_NODES: usize = 1024;

pub(crate) struct EvidenceFolder {
    folder: PathBuf,
    /// What refused nodes showed since the start.
    refused: Mutex<BTreeMap<SpiffeId, VecDeque<Digest>>>,
}

impl EvidenceFolder {
    pub(crate) fn open(data: &Path) -> Result<Self, DiskError> {
        let folder = data.join(NAME);
        private_folder(&folder)?;
        Ok(Self { folder, refused: Mutex::default() })
    }

    fn path(&self, sha256: &Digest) -> PathBuf {
        self.folder.join(format!("{sha256}.json"))
    }

    /// Durable when this returns.
    pub(crate) fn put(&self, shown: &ShownEvidence) -> Result<(), DiskError> {
        write_atomic(&self.path(&shown.sha256), &shown.file)
    }

    /// The same of a node that was refused.
    pub(crate) fn put_refused(&self, node: &SpiffeId, shown: &ShownEvidence) -> Result<(), DiskError> {
        self.put(shown)?;
        let before = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if refused.len() >= COUNTED_NODES && !refused.contains_key(node) {
                refused.pop_first();
            }
            let own = refused.entry(node.clone()).or_default();
            own.push_back(shown.sha256);
            if own.len() > REFUSED_FILES { own.pop_front() } else { None }
        };
        if let Some(before) = before {
            self.remove(&before);
        }
        Ok(())
    }

    /// `None`: there is no such file, or it is damaged.
    pub(crate) fn get(&self, sha256: &Digest) -> Option<Vec<u8>> {
        std::fs::read(self.path(sha256)).ok().filter(|file| sha256_of(file) == *sha256.as_bytes())
    }

    pub(crate) fn remove(&self, sha256: &Digest) {
        let path = self.path(sha256);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, path = %path.display(), "evidence was not removed; retention does it later");
        }
    }

    /// Removes files that no node of `named` has if they are older than `before`, or not among the newest.
    pub(crate) fn forget(&self, named: &BTreeSet<Digest>, before: UnixTime) {
        let mut unnamed: Vec<(UnixTime, PathBuf)> = vec![];
        for item in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = item.path();
            let digest = path.file_stem().and_then(|name| Digest::parse(&name.to_string_lossy()).ok());
            if !digest.is_some_and(|digest| named.contains(&digest)) {
                unnamed.push((written_at(&path), path));
            }
        }
        unnamed.sort_by(|a, b| b.cmp(a));
        for (number, (at, path)) in unnamed.into_iter().enumerate() {
            if number >= UNNAMED_FILES || at < before {
                let _next_time = std::fs::remove_file(path);
            }
        }
    }
}

/// When a file was written. One whose time is not known counts as the oldest.
fn written_at(path: &Path) -> UnixTime {
    let since =
        path.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    UnixTime::from_seconds(since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> ShownEvidence {
        let sha256 = Digest::new(sha256_of(text.as_bytes()));
        ShownEvidence { file: text.into(), sha256, boot_policy: None, boot_image: None }
    }

    #[test]
    fn evidence_is_kept_under_its_hash() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(data.path()).unwrap();
        let one = shown("one");
        assert_eq!(folder.get(&one.sha256), None);
        folder.put(&one).unwrap();
        assert_eq!(folder.get(&one.sha256).as_deref(), Some(b"one".as_slice()));
        let path = folder.path(&one.sha256);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // Damaged, it is none.
        std::fs::write(path, "two").unwrap();
        assert_eq!(folder.get(&one.sha256), None);
    }

    #[test]
    fn law_l9_one_refused_node_keeps_few_files() {
        let data = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(data.path()).unwrap();
        let node = |name: &str| SpiffeId::parse(&format!("spiffe://example.org/spire/agent/tpm/{name}")).unwrap();
        folder.put_refused(&node("victim"), &shown("victim")).unwrap();
        for number in 0..100 {
            folder.put_refused(&node("hostile"), &shown(&format!("refused {number}"))).unwrap();
        }
        assert_eq!(std::fs::read_dir(&folder.folder).unwrap().count(), REFUSED_FILES + 1);
        assert!(folder.get(&shown("victim").sha256).is_some() && folder.get(&shown("refused 99").sha256).is_some());
    }

    #[test]
    fn what_no_node_names_is_forgotten_later() {
        let data = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(data.path()).unwrap();
        let (named, gone) = (shown("named"), shown("gone"));
        folder.put(&named).unwrap();
        folder.put(&gone).unwrap();
        let all = BTreeSet::from([named.sha256]);
        folder.forget(&all, UnixTime::from_seconds(1));
        assert!(folder.get(&gone.sha256).is_some(), "it is young");
        folder.forget(&all, sekisho_runtime::now().plus_seconds(60));
        assert!(folder.get(&gone.sha256).is_none() && folder.get(&named.sha256).is_some());
        // However young: of many, some are forgotten.
        for number in 0..UNNAMED_FILES + 5 {
            folder.put(&shown(&format!("refused {number}"))).unwrap();
        }
        folder.forget(&all, UnixTime::from_seconds(1));
        assert_eq!(std::fs::read_dir(&folder.folder).unwrap().count(), UNNAMED_FILES + 1);
    }
}
