//! Cgroups that exist as long as a value, and how a process comes to live in one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use crate::probe::cgroup2;

#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Inside another cgroup.
    pub fn create(parent: &Path, name: &str) -> io::Result<Self> {
        let path = parent.join(name);
        fs::create_dir(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("cgroup {}: {error}", path.display())))?;
        Ok(Self { path })
    }

    /// For tests: beside all others, at the root of the file system of cgroups.
    pub fn scratch() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::create(&mounted()?, &format!("sekisho-selftest-{}-{number}", std::process::id()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's number of it.
    pub fn number(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }

    /// Moves a process into it.
    pub fn admit(&self, process: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a cgroup with those in it, once their processes have left: one that was killed takes a moment.
fn remove(path: &Path) {
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    for inner in below.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        remove(&inner);
    }
    for _ in 0..50 {
        match fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(Duration::from_millis(4)),
            _ => break,
        }
    }
}

/// Kills every process in a cgroup and in those inside it, and waits until it is empty. Returns whether it is.
pub fn kill_all(cgroup: &Path) -> bool {
    for _ in 0..250 {
        // Before Linux 5.14 there is no such file.
        if fs::write(cgroup.join("cgroup.kill"), "1").is_err() {
            kill_each(cgroup);
        }
        let events = fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
        if !events.lines().any(|line| line == "populated 1") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    false
}

fn kill_each(cgroup: &Path) {
    for inner in fs::read_dir(cgroup).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if inner.is_dir() {
            kill_each(&inner);
        }
    }
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in listed.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Ends a workload whose holder has stopped: its processes, its cgroup.
pub fn clear(cgroup: &Path) {
    if kill_all(cgroup) {
        remove(cgroup);
    }
}

fn mounted() -> io::Result<PathBuf> {
    cgroup2().ok_or_else(|| io::Error::other("no cgroup2 file system is mounted"))
}

/// The cgroup of this process. A cgroup inside it stays within the limits of this process, and within its unit.
pub fn own_cgroup() -> io::Result<PathBuf> {
    let all = fs::read_to_string("/proc/self/cgroup")?;
    let path = all.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| io::Error::other("this process is in no cgroup of version 2"))?;
    let found = mounted()?.join(path);
    if path.split('/').any(|part| part == "..") || !found.join("cgroup.procs").exists() {
        return Err(io::Error::other(format!(
            "the cgroup of this process, /{path}, is not in the mounted file system"
        )));
    }
    Ok(found)
}

/// What lets a process around rules of the network: packet sockets, and interfaces and programs of its own.
const GIVEN_UP: CapabilitySet = CapabilitySet::NET_RAW.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::BPF);

/// Moves this process into a cgroup and gives up what leads around its rules, for itself and all that it will start.
/// The thread that calls it has to be the one that becomes the program.
pub fn enter(cgroup: &Path) -> io::Result<()> {
    // "0" is the process that writes.
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    for capability in GIVEN_UP.iter() {
        match remove_capability_from_bounding_set(capability) {
            // Without CAP_SETPCAP: then no file may give it back.
            Err(rustix::io::Errno::PERM) => set_no_new_privs(true)?,
            result => result?,
        }
    }
    clear_ambient_capability_set()?;
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    let left = |set: CapabilitySet| set.difference(GIVEN_UP);
    let sets =
        CapabilitySets { effective: left(effective), permitted: left(permitted), inheritable: left(inheritable) };
    Ok(set_capabilities(None, sets)?)
}
