use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sekisho_disk::private_folder;

use crate::exit::{Exit, Failure};

/// Says that `dev` made a folder, and so may empty it.
const MARK: &str = ".made-by-sekisho-dev";

const POLICY: &str = include_str!("../../../../policies/dev/authz.rego");

/// The folder of one running `dev`.
pub(super) struct Folder {
    root: PathBuf,
    _lock: std::fs::File,
}

impl Folder {
    pub(super) fn open(root: PathBuf, fresh: bool) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", root.display()));
        // A Unix socket's path has 107 bytes at most.
        if root.as_os_str().len() > 80 {
            return Err(Failure::new(
                Exit::Usage,
                format!("{}: the path is too long for sockets; give a shorter `--folder`", root.display()),
            ));
        }
        let mark = root.join(MARK);
        let empty = !root.exists() || std::fs::read_dir(&root).map_err(failed)?.next().is_none();
        if !empty && !mark.exists() {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} was not made by `sekisho dev`; give another `--folder`", root.display()),
            ));
        }
        private_folder(&root).map_err(Failure::failed)?;
        let lock = std::fs::OpenOptions::new().create(true).append(true).open(&mark).map_err(failed)?;
        let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|_| {
            Failure::failed(format!(
                "another `sekisho dev` uses {}; stop it, or give another `--folder`",
                root.display()
            ))
        })?;
        if fresh {
            for item in std::fs::read_dir(&root).map_err(failed)?.flatten().filter(|item| item.file_name() != MARK) {
                let path = item.path();
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
                    .map_err(failed)?;
            }
        }
        let folder = Self { root, _lock: lock };
        for name in ["logs", "policy", "run", "proofs", "tampered"] {
            private_folder(&folder.root.join(name)).map_err(Failure::failed)?;
        }
        let policy = folder.policy().join("authz.rego");
        if !policy.exists() {
            std::fs::write(&policy, POLICY).map_err(Failure::failed)?;
        }
        Ok(folder)
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.join("policy")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.join("logs")
    }
}

/// The folder of this executable, where the sample services are built to and installed.
pub(super) fn beside_this_executable() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(Failure::failed)?;
    own.parent().map(Path::to_owned).ok_or_else(|| Failure::failed("this executable has no folder"))
}
