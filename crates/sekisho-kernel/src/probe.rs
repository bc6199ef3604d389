//! What this kernel and this process can do, each with its reason and its effect.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::enforcer::{CGROUP2, release};
use crate::sys::{ProgramText, load_program};

/// One thing that enforcement needs, or that would add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    pub name: &'static str,
    pub present: bool,
    /// What was found, or why it is absent.
    pub found: String,
    /// What its absence changes.
    pub without: &'static str,
    /// Nothing is enforced without it.
    pub required: bool,
}

/// Everything that matters to network rules, in the order in which it is needed.
pub fn capabilities() -> Vec<Capability> {
    let effective = effective_capabilities();
    let admin = has(effective, 21);
    let privilege = |name, number, without| {
        let present = admin || has(effective, number);
        let found = if has(effective, number) {
            "effective"
        } else if admin {
            "CAP_SYS_ADMIN stands for it"
        } else {
            "this process does not have it"
        };
        Capability { name, present, found: found.to_owned(), without, required: true }
    };
    let cgroup = match cgroup2() {
        Some(mount) => (true, mount.display().to_string()),
        None => (false, "no cgroup2 file system is mounted".to_owned()),
    };
    let mut all = vec![
        Capability { name: "kernel", present: true, found: release(), without: "", required: false },
        Capability {
            name: "cgroup version 2",
            present: cgroup.0,
            found: cgroup.1,
            without: "no rule can be enforced: programs are attached to cgroups of version 2",
            required: true,
        },
        privilege("CAP_BPF", 39, "no program can be loaded"),
        privilege("CAP_NET_ADMIN", 12, "no program that judges the network can be loaded or attached"),
        privilege("CAP_PERFMON", 38, "the verifier refuses the programs: it takes their use of the stack for a leak"),
    ];
    all.extend(KINDS.map(|(name, kind, attach_type, without)| {
        let (present, found) = match load_nothing(kind, attach_type) {
            Ok(()) => (true, "the kernel loads it".to_owned()),
            Err(error) => (false, error.to_string()),
        };
        Capability { name, present, found, without, required: true }
    }));
    all.extend(later());
    all
}

const KINDS: [(&str, u32, u32, &str); 3] = [
    ("programs cgroup/connect4 and others", 18, 10, "calls that name an address are not judged"),
    ("programs cgroup/sock_create", 9, 2, "raw sockets are not refused"),
    ("programs cgroup_skb", 8, 1, "packets are not judged"),
];

/// What network rules do without, and other rules would need.
fn later() -> [Capability; 2] {
    let btf = Path::new("/sys/kernel/btf/vmlinux");
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    let lsm = match &modules {
        Ok(listed) => (listed.split(',').any(|module| module.trim() == "bpf"), listed.trim().to_owned()),
        Err(error) => (false, format!("/sys/kernel/security/lsm: {error}")),
    };
    [
        Capability {
            name: "types of the kernel (BTF)",
            present: btf.exists(),
            found: if btf.exists() { btf.display().to_string() } else { "the kernel publishes none".to_owned() },
            without: "nothing for network rules",
            required: false,
        },
        Capability {
            name: "BPF among the security modules",
            present: lsm.0,
            found: lsm.1,
            without: "a socket that was made outside the cgroup and passed to a workload is not judged",
            required: false,
        },
    ]
}

/// Loads the shortest program of a kind: `return 1`.
fn load_nothing(kind: u32, attach_type: u32) -> io::Result<()> {
    let code = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let text = ProgramText { name: "probe", kind, attach_type, code: &code, licence: b"Apache-2.0\0" };
    load_program(&text).map(|_| ()).map_err(|(error, _)| error)
}

/// Capabilities of this thread, a bit each.
fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

const fn has(effective: u64, number: u32) -> bool {
    effective >> number & 1 == 1
}

/// Where the cgroups of version 2 are mounted.
pub fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let at = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let path = before.split(' ').nth(4).filter(|_| after.starts_with("cgroup2 "))?;
        // Spaces and the like are octal numbers there.
        Some(PathBuf::from(path.replace("\\040", " ")))
    });
    let mut real = at.filter(|path| rustix::fs::statfs(path).is_ok_and(|found| found.f_type == CGROUP2));
    real.next()
}
