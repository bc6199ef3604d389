//! The `unix` workload attestor.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use sekisho_types::{Digest, Selector};

use crate::proc_text::{credentials, name_of};
use crate::{DigestCache, HostError, Process};

/// Name and version, as evidence carries it.
pub const ATTESTOR: &str = "unix/1";

/// Which file a process runs: device and inode. Another one after connecting means exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutableId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// What was found out about a process.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
    pub selectors: BTreeSet<Selector>,
    pub executable: ExecutableId,
    pub executable_digest: Digest,
}

/// Measures a process. Reads files, and hashes the executable when it is not cached: not for async threads.
pub fn measure(process: &Process, cache: &DigestCache) -> Result<Measurement, HostError> {
    // What failed because the process went is no fault of anybody's.
    measure_living(process, cache).map_err(|error| match process.check_alive() {
        Err(ended @ HostError::Ended(_)) => ended,
        _ => error,
    })
}

fn measure_living(process: &Process, cache: &DigestCache) -> Result<Measurement, HostError> {
    let pid = process.pid();
    let (uid, gid, groups) = credentials(&process.read("status")?).ok_or(HostError::Format { pid, what: "status" })?;
    let error = |what| move |source| HostError::Proc { pid, what, source };
    let link = format!("/proc/{pid}/exe");
    let mut file = File::open(&link).map_err(error("exe"))?;
    let meta = file.metadata().map_err(error("exe"))?;
    let executable = ExecutableId { device: meta.dev(), inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) };
    let executable_digest = cache.digest(&mut file).map_err(error("exe"))?;
    let path = path_here(&link, executable);
    let mut found = vec![("uid", uid.to_string()), ("gid", gid.to_string()), ("sha256", executable_digest.to_string())];
    let (users, names) = (local_file("/etc/passwd"), local_file("/etc/group"));
    found.extend(path.map(|path| ("path", path)));
    found.extend(name_of(&users, uid).map(|name| ("user", name)));
    found.extend(name_of(&names, gid).map(|name| ("group", name)));
    for group in groups {
        found.push(("supplementary_gid", group.to_string()));
        found.extend(name_of(&names, group).map(|name| ("supplementary_group", name)));
    }
    let selector = |(name, value): (&str, String)| Selector::new("unix", &format!("{name}:{value}")).ok();
    let selectors = found.into_iter().filter_map(selector).collect();
    // Alive at the end: everything above was read of this process. And still the same file: no exec between.
    process.check_alive()?;
    let now = ExecutableId::of(process)?;
    if now != executable {
        return Err(HostError::Format { pid, what: "exe changed while it was measured" });
    }
    Ok(Measurement { pid, uid, gid, selectors, executable, executable_digest })
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
        let pid = process.pid();
        let meta = std::fs::metadata(format!("/proc/{pid}/exe"));
        let meta = meta.map_err(|source| HostError::Proc { pid, what: "exe", source })?;
        process.check_alive()?;
        Ok(Self { device: meta.dev(), inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) })
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
        assert_eq!(measured.executable_digest, crate::file_digest(&exe).unwrap());

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let held = Process::open(child.id().cast_signed()).unwrap();
        assert_eq!(held.parent().unwrap(), std::process::id().cast_signed());
        held.check_alive().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        held.ended().await;
        assert!(measure(&held, &cache).is_err(), "law L11: identity ends with its process");
    }
}
