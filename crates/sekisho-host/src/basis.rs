//! The kernel's data about every process, before any attestor runs.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{major, minor};
use sekisho_types::Digest;

use crate::proc_text::{code_files, credentials, tracer};
use crate::{DigestCache, HostError, Process};

/// Which file a process runs: device and inode. Another one after connecting means exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutableId {
    device: u64,
    inode: u64,
}

/// User, groups and executable.
pub(crate) struct Basis {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub executable: ExecutableId,
    pub executable_digest: Option<Digest>,
    /// Absent with its digest, and where it leads elsewhere for this agent.
    pub executable_path: Option<String>,
    /// No file but the executable has code in the process's memory.
    pub is_whole: bool,
    pub is_traced: bool,
}

impl Basis {
    /// Hashes the executable when it is not cached. The caller looks afterwards whether the process is alive.
    pub(crate) fn read(process: &Process, cache: &DigestCache) -> Result<Self, HostError> {
        let pid = process.pid();
        let format = HostError::Format { pid, what: "status" };
        let status = process.read("status")?;
        let (uid, gid, groups) = credentials(&status).ok_or(format)?;
        let error = |what| move |source| HostError::Proc { pid, what, source };
        let link = format!("/proc/{pid}/exe");
        let mut file = File::open(&link).map_err(|source| process.without_executable(source))?;
        let meta = file.metadata().map_err(error("exe"))?;
        let executable = ExecutableId::from(&meta);
        let digest = cache.digest(&mut file).map_err(error("exe"))?;
        let path = path_here(&link, executable);
        let maps = process.read("maps").unwrap_or_default();
        let ExecutableId { device, inode } = executable;
        let own = (major(device), minor(device), inode);
        let is_whole = code_files(&maps).is_some_and(|files| files.iter().all(|file| *file == own));
        // Still the same file: no exec between.
        if ExecutableId::of(process)? != executable {
            return Err(HostError::Format { pid, what: "exe changed while it was measured" });
        }
        // After everything that was read of the executable, and before the last look at the process: see there.
        let executable_digest = process.is_in_own_user_namespace().then_some(digest);
        let executable_path = path.filter(|_| executable_digest.is_some());
        let is_traced = tracer(&status) != Some(0);
        Ok(Self { uid, gid, groups, executable, executable_digest, executable_path, is_whole, is_traced })
    }
}

/// The path of a process's executable, if that path leads to it for this agent as well: within a mount namespace of its
/// own a process chooses what its path looks like.
fn path_here(link: &str, executable: ExecutableId) -> Option<String> {
    let path = std::fs::read_link(link).ok()?;
    let meta = std::fs::metadata(&path).ok()?;
    let same = (meta.dev(), meta.ino()) == (executable.device, executable.inode);
    same.then(|| path.into_os_string().into_string().ok())?
}

impl ExecutableId {
    /// Which file the process runs now.
    pub fn of(process: &Process) -> Result<Self, HostError> {
        let meta = std::fs::metadata(format!("/proc/{}/exe", process.pid()));
        let meta = meta.map_err(|source| process.without_executable(source))?;
        process.check_alive()?;
        Ok(Self::from(&meta))
    }

    /// In a form that another program of this machine may compare.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut out = [0u8; 16];
        let words = [self.device, self.inode];
        for (to, word) in out.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}

impl From<&std::fs::Metadata> for ExecutableId {
    fn from(meta: &std::fs::Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }
}
