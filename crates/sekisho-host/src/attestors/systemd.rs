//! The unit of systemd that a process belongs to, from its control group (cgroup v2).
//!
//! The kernel names the group of a process. The name can be trusted if no user could create the group or move the
//! process into it. So the unit counts only if root alone may write to every group above it, and only in the first
//! cgroup namespace. systemd keeps a unit's invocation in two attributes of its group: `trusted.invocation_id`, which
//! needs CAP_SYS_ADMIN to read and to write, and `user.invocation_id`, which the group's owner may change. The second
//! counts only where the owner is root.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fgetxattr, fstat, openat, readlink, statat};
use sekisho_evidence::{Class, SYSTEMD};

use super::attestor::{Found, WorkloadAttestor};
use super::unit_path::{UnitPath, unit_path};
use crate::basis::Basis;
use crate::proc_text::{unified_group, unified_mount};
use crate::{HostError, Process};

/// The first cgroup namespace's number, the same on every machine (`linux/proc_ns.h`).
const FIRST_NAMESPACE: &[u8] = b"cgroup:[4026531835]";

/// How often it is looked again when the process moves meanwhile.
const LOOKS: usize = 3;

pub(super) struct Systemd;

impl WorkloadAttestor for Systemd {
    fn class(&self) -> &'static Class {
        &SYSTEMD
    }

    fn measure(&self, process: &Process, _: &Basis) -> Result<Found, HostError> {
        hierarchy().map_or(Ok(vec![]), |root| unit_of(root, process))
    }

    fn look_again(&self, process: &Process) -> Result<Option<Found>, HostError> {
        hierarchy().map_or(Ok(vec![]), |root| unit_of(root, process)).map(Some)
    }
}

/// The root of the machine's groups; `None` where there is none, or where paths do not begin at it.
fn hierarchy() -> Option<&'static OwnedFd> {
    static ROOT: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(root) = ROOT.get() {
        return Some(root);
    }
    let namespace = readlink(c"/proc/self/ns/cgroup", vec![]).ok()?;
    if namespace.as_bytes() != FIRST_NAMESPACE {
        return None;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let root = openat(CWD, unified_mount(&mounts)?, FOLDER, Mode::empty()).ok()?;
    Some(ROOT.get_or_init(|| root))
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn unit_of(root: &OwnedFd, process: &Process) -> Result<Found, HostError> {
    for _ in 0..LOOKS {
        let before = process.read("cgroup")?;
        let found = unified_group(&before).and_then(unit_path).and_then(|path| look(root, &path));
        // A group that has a process is not removed: what was read is of the group that the process was in all the
        // time.
        if process.read("cgroup")? == before {
            process.check_alive()?;
            return Ok(found.unwrap_or_default());
        }
    }
    Ok(vec![])
}

/// The unit's name, its name at SPIRE, and its invocation.
fn look(root: &OwnedFd, path: &UnitPath<'_>) -> Option<Found> {
    let mut at = None;
    for slice in &path.slices {
        let above = at.as_ref().unwrap_or(root);
        let group = is_roots_own(above).then(|| openat(above, *slice, FOLDER, Mode::empty()).ok())??;
        at = Some(group);
    }
    let above = at.as_ref().unwrap_or(root);
    let unit = is_roots_own(above).then(|| openat(above, path.group, FOLDER, Mode::empty()).ok())??;
    let mut found = vec![("unit", path.name.clone()), ("id", path.name.clone())];
    found.extend(invocation(&unit).map(|id| ("invocation_id", id)));
    Some(found)
}

/// Whether only root makes groups in this one, and moves processes through it.
fn is_roots_own(group: &OwnedFd) -> bool {
    let processes = statat(group, c"cgroup.procs", AtFlags::SYMLINK_NOFOLLOW);
    fstat(group).is_ok_and(|group| is_written_by_root(&group)) && processes.is_ok_and(|file| is_written_by_root(&file))
}

fn is_written_by_root(file: &Stat) -> bool {
    file.st_uid == 0 && file.st_mode & 0o022 == 0
}

fn invocation(unit: &OwnedFd) -> Option<String> {
    let is_roots = fstat(unit).is_ok_and(|unit| is_written_by_root(&unit));
    let trusted = attribute(unit, c"trusted.invocation_id");
    trusted.or_else(|| attribute(unit, c"user.invocation_id").filter(|_| is_roots))
}

/// 128 bits in hexadecimal.
fn attribute(group: impl AsFd, name: &std::ffi::CStr) -> Option<String> {
    let mut value = [0u8; 33];
    let length = fgetxattr(group, name, &mut value).ok()?;
    let text = std::str::from_utf8(value.get(..length)?).ok()?;
    let is_id = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
