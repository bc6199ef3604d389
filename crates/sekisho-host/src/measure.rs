//! The `unix` workload attestor.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use sekisho_types::{Digest, Selector};

use crate::proc_text::{credentials, name_of, tracer};
use crate::{DigestCache, HostError, Process};

/// Name and version, as evidence carries it.
pub const ATTESTOR: &str = "unix/1";

/// Which file a process runs: device and inode. Another one after connecting means exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutableId {
    device: u64,
    inode: u64,
}

/// What was found out about a process.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
    pub selectors: BTreeSet<Selector>,
    pub executable: ExecutableId,
    /// Absent for a process in another user namespace than this agent, which could have chosen its executable's name.
    pub executable_digest: Option<Digest>,
    /// Another process may change its memory (ptrace(2)).
    pub is_traced: bool,
}

/// Measures a process. Reads files, and hashes the executable when it is not cached: not for async threads.
pub fn measure(process: &Process, cache: &DigestCache) -> Result<Measurement, HostError> {
    // What failed because the process ended is not a fault of the process.
    measure_living(process, cache).map_err(|error| match process.check_alive() {
        Err(ended @ HostError::Ended(_)) => ended,
        _ => error,
    })
}

fn measure_living(process: &Process, cache: &DigestCache) -> Result<Measurement, HostError> {
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
    // Still the same file: no exec between.
    if ExecutableId::of(process)? != executable {
        return Err(HostError::Format { pid, what: "exe changed while it was measured" });
    }
    // After everything that was read of the executable, and before the last look at the process: see there.
    let executable_digest = process.is_in_own_user_namespace().then_some(digest);
    let mut found = vec![("uid", uid.to_string()), ("gid", gid.to_string())];
    if let Some(digest) = executable_digest {
        found.push(("sha256", digest.to_string()));
        found.extend(path.map(|path| ("path", path)));
    }
    let (users, names) = (local_file("/etc/passwd"), local_file("/etc/group"));
    found.extend(name_of(&users, uid).map(|name| ("user", name)));
    found.extend(name_of(&names, gid).map(|name| ("group", name)));
    for group in groups {
        found.push(("supplementary_gid", group.to_string()));
        found.extend(name_of(&names, group).map(|name| ("supplementary_group", name)));
    }
    let selector = |(name, value): (&str, String)| Selector::new("unix", &format!("{name}:{value}")).ok();
    let selectors = found.into_iter().filter_map(selector).collect();
    let is_traced = tracer(&status) != Some(0);
    // Alive at the end: everything above was read of this process.
    process.check_alive()?;
    Ok(Measurement { pid, uid, gid, selectors, executable, executable_digest, is_traced })
}

/// Whether a process is still what it was when it was measured: its executable, user, group and user namespace. Cheap
/// enough for each use of what was issued to it, though not for async threads: its executable may be on a slow disk.
pub fn is_unchanged(process: &Process, measured: &Measurement) -> Result<bool, HostError> {
    let pid = process.pid();
    let (uid, gid, _) = credentials(&process.read("status")?).ok_or(HostError::Format { pid, what: "status" })?;
    let executable = ExecutableId::of(process)?;
    let own = process.is_in_own_user_namespace();
    process.check_alive()?;
    let now = (uid, gid, executable, own);
    Ok(now == (measured.uid, measured.gid, measured.executable, measured.executable_digest.is_some()))
}

/// User and group names come from the local files. Directory services are not asked: a lookup over the network has no place
/// between a process and its identity.
fn local_file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The path of a process's executable, if that path leads to it for this agent as well: within a mount namespace of its own
/// a process chooses what its path looks like.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn law_l11_a_process_is_measured_while_it_lives_and_not_after() {
        let cache = DigestCache::default();
        let own = Process::open(std::process::id().cast_signed()).unwrap();
        let measured = measure(&own, &cache).unwrap();
        let exe = std::fs::read_link("/proc/self/exe").unwrap();
        let wanted = Selector::new("unix", &format!("path:{}", exe.display())).unwrap();
        assert!(measured.selectors.contains(&wanted), "{:?}", measured.selectors);
        assert_eq!(measured.executable_digest, crate::file_digest(&exe).ok());
        assert!(is_unchanged(&own, &measured).unwrap());
        assert!(!is_unchanged(&own, &Measurement { gid: measured.gid + 1, ..measured.clone() }).unwrap());

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let held = Process::open(child.id().cast_signed()).unwrap();
        assert_eq!(held.parent().unwrap(), std::process::id().cast_signed());
        held.check_alive().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        held.ended().await;
        assert!(measure(&held, &cache).is_err(), "law L11: identity ends with its process");
    }
    /// A program that is updated while it runs goes on as what it is: its file loses a name, which changes the time of its inode.
    #[tokio::test]
    async fn a_running_program_stays_the_same_when_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, next) = (folder.path().join("program"), folder.path().join("next"));
        std::fs::copy("/bin/sleep", &file).unwrap();
        let start = || loop {
            // A child that another test starts may have the new file open for writing until it runs its program.
            match std::process::Command::new(&file).arg("60").spawn() {
                Err(busy) if busy.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                other => return other.unwrap(),
            }
        };
        let mut child = start();
        let process = Process::open(child.id().cast_signed()).unwrap();
        let (before, measured) =
            (ExecutableId::of(&process).unwrap(), measure(&process, &DigestCache::default()).unwrap());
        std::fs::copy("/bin/true", &next).unwrap();
        std::fs::rename(&next, &file).unwrap();
        assert_eq!(ExecutableId::of(&process).unwrap(), before);
        assert!(is_unchanged(&process, &measured).unwrap());
        assert_ne!(crate::file_digest(&file).ok(), measured.executable_digest);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
