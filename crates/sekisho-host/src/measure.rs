//! Measures a process: what the kernel shows of it, and what each attestor finds.

use sekisho_types::{Digest, Selector, SelectorSet};

use crate::attestors::{ATTESTORS, Found, WorkloadAttestor};
use crate::basis::{Basis, ExecutableId};
use crate::proc_text::credentials;
use crate::{DigestCache, HostError, Process};

/// What was found out about a process.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
    /// Of all attestors, each of its own class.
    pub selectors: SelectorSet,
    /// The attestors that found something, with their versions, as evidence names them.
    pub attestors: String,
    pub executable: ExecutableId,
    /// Absent for a process in another user namespace than this agent, which could have chosen its executable's name.
    pub executable_digest: Option<Digest>,
    /// Another process may change its memory (ptrace(2)).
    pub is_traced: bool,
}

/// Measures a process. Reads files, and hashes the executable when it is not cached: not for async threads.
pub fn measure(process: &Process, cache: &DigestCache) -> Result<Measurement, HostError> {
    // A failure because the process stopped is not a fault of the process.
    measure_living(process, cache).map_err(|error| match process.check_alive() {
        Err(ended @ HostError::Stopped(_)) => ended,
        _ => error,
    })
}

fn measure_living(process: &Process, cache: &DigestCache) -> Result<Measurement, HostError> {
    let basis = Basis::read(process, cache)?;
    let (mut selectors, mut attestors) = (SelectorSet::new(), vec![]);
    for attestor in ATTESTORS {
        let found = only_own_class(attestor, attestor.measure(process, &basis)?);
        if !found.is_empty() {
            attestors.push(attestor.class().source());
            selectors.extend(found);
        }
    }
    // Alive at the end: everything above was read of this process.
    process.check_alive()?;
    let Basis { uid, gid, executable, executable_digest, is_traced, .. } = basis;
    let (pid, attestors) = (process.pid(), attestors.join(" "));
    Ok(Measurement { pid, uid, gid, selectors, attestors, executable, executable_digest, is_traced })
}

/// What an attestor finds becomes selectors of its class, and of no other.
fn only_own_class(attestor: &dyn WorkloadAttestor, found: Found) -> SelectorSet {
    let kind = attestor.class().name;
    let selector = |(name, value): (&str, String)| Selector::new(kind, &format!("{name}:{value}")).ok();
    found.into_iter().filter_map(selector).collect()
}

/// Whether a process is still what it was when it was measured: its executable, user, group and user namespace, and
/// what each attestor finds beside those. Cheap enough for each use of what was issued to it, though not for async
/// threads: its executable may be on a slow disk.
pub fn is_unchanged(process: &Process, measured: &Measurement) -> Result<bool, HostError> {
    let pid = process.pid();
    let (uid, gid, _) = credentials(&process.read("status")?).ok_or(HostError::Format { pid, what: "status" })?;
    let executable = ExecutableId::of(process)?;
    let own = process.is_in_own_user_namespace();
    let mut as_before = true;
    for attestor in ATTESTORS {
        if let Some(found) = attestor.look_again(process)? {
            let kind = attestor.class().name;
            let before = measured.selectors.iter().filter(|selector| selector.kind() == kind);
            as_before &= before.eq(&only_own_class(attestor, found));
        }
    }
    process.check_alive()?;
    let now = (uid, gid, executable, own);
    Ok(as_before && now == (measured.uid, measured.gid, measured.executable, measured.executable_digest.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn law_l11_a_dead_process_is_not_measured() {
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
        held.stopped().await;
        assert!(measure(&held, &cache).is_err(), "law L11: identity ends with its process");
    }
    /// A program that is updated while it runs goes on as what it is: its file loses a name, which changes the time of
    /// its inode.
    #[tokio::test]
    async fn replacing_a_file_keeps_the_running_digest() {
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
