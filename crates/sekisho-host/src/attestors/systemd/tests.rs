//! In control groups that the tests make, by processes that are moved there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::{XattrFlags, setxattr};

use super::*;
use crate::{DigestCache, is_unchanged, measure};

/// A user that no other test uses.
const STRANGER: u32 = 61_400;
const ID: &str = "0123456789abcdef0123456789abcdef";

/// A slice of the test's own at the root of the hierarchy, removed with all that it holds.
struct Slice {
    folder: PathBuf,
    children: Vec<Child>,
}

impl Slice {
    /// `None`, visibly, where this test may make no groups.
    fn new(name: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(root) = unified_mount(&mounts).filter(|_| hierarchy().is_some() && crate::own_uid() == 0) else {
            crate::skipped("no cgroup v2 of the first namespace in which this test may make groups");
            return None;
        };
        let folder = Path::new(&root).join(format!("sekishotest{name}{}.slice", std::process::id()));
        if let Err(error) = std::fs::create_dir(&folder) {
            crate::skipped(&format!("no group can be made: {error}"));
            return None;
        }
        Some(Self { folder, children: vec![] })
    }

    fn make(&self, below: &str) -> PathBuf {
        let folder = self.folder.join(below);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn give(&self, below: &str, uid: u32) {
        let folder = self.folder.join(below);
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            std::os::unix::fs::chown(folder.join(file), Some(uid), Some(uid)).unwrap();
        }
    }

    /// A process in the group, of root or of another user.
    fn start(&mut self, below: &str, uid: u32, script: &str) -> Process {
        let procs = self.folder.join(below).join("cgroup.procs");
        let uid = uid.to_string();
        let run = format!("echo $$ > {}; exec setpriv --reuid {uid} --clear-groups sh -c '{script}'", procs.display());
        let child = Command::new("sh").args(["-c", &run]).current_dir("/").spawn().unwrap();
        let process = Process::open(child.id().cast_signed()).unwrap();
        self.children.push(child);
        process
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    for item in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if item.path().is_dir() {
            remove(&item.path());
        }
    }
    for _ in 0..100 {
        // The last process may still be on its way out.
        if std::fs::remove_dir(folder).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn mark(folder: &Path, attribute: &str, value: &str) {
    setxattr(folder, attribute, value.as_bytes(), XattrFlags::empty()).unwrap();
}

fn found(process: &Process) -> Vec<String> {
    look(process).unwrap()
}

fn look(process: &Process) -> Result<Vec<String>, HostError> {
    let measured = measure(process, &DigestCache::default())?;
    assert_eq!(measured.attestors.contains("systemd/1"), measured.selectors.iter().any(|s| s.kind() == "systemd"));
    Ok(measured.selectors.iter().filter(|s| s.kind() == "systemd").map(ToString::to_string).collect())
}

/// Waits until the process runs its last program and is found like this.
///
/// Before that it executes `setpriv` and a shell, and measuring a process that executes another program is refused.
fn becomes(process: &Process, wanted: &[&str]) {
    let name = format!("/proc/{}/comm", process.pid());
    for _ in 0..500 {
        let settled = std::fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n");
        if settled && look(process).is_ok_and(|found| found == wanted) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(found(process), wanted);
}

const SLEEP: &str = "exec sleep 60";

#[tokio::test]
async fn a_process_has_the_unit_of_root() {
    let Some(mut slice) = Slice::new("a") else { return };
    let unit = slice.make("web.service");
    mark(&unit, "trusted.invocation_id", ID);
    slice.make("web.service/worker");
    let id = format!("systemd:invocation_id:{ID}");
    let wanted = ["systemd:id:web.service", id.as_str(), "systemd:unit:web.service"];
    for (below, uid) in [("web.service", 0), ("web.service/worker", 0), ("web.service", STRANGER)] {
        becomes(&slice.start(below, uid, SLEEP), &wanted);
    }
    // Outside of all units.
    let own = Process::open(std::process::id().cast_signed()).unwrap();
    assert!(!found(&own).iter().any(|selector| selector.contains("web.service")));
}

#[tokio::test]
async fn law_l11_a_change_of_unit_is_noticed() {
    let Some(mut slice) = Slice::new("b") else { return };
    slice.make("web.service");
    let other = slice.make("other.service");
    let process = slice.start("web.service", STRANGER, SLEEP);
    becomes(&process, &["systemd:id:web.service", "systemd:unit:web.service"]);
    let measured = measure(&process, &DigestCache::default()).unwrap();
    assert!(is_unchanged(&process, &measured).unwrap());
    std::fs::write(other.join("cgroup.procs"), process.pid().to_string()).unwrap();
    assert!(!is_unchanged(&process, &measured).unwrap());
    assert_eq!(found(&process), ["systemd:id:other.service", "systemd:unit:other.service"]);
    // The same unit, started anew.
    let measured = measure(&process, &DigestCache::default()).unwrap();
    mark(&other, "trusted.invocation_id", ID);
    assert!(!is_unchanged(&process, &measured).unwrap());
    std::fs::write(slice.folder.join("cgroup.procs"), process.pid().to_string()).unwrap();
    assert_eq!(found(&process), Vec::<String>::new(), "a slice is not a unit");
}

/// What a user may do within a unit that is delegated to it, as `user@1000.service` is.
#[tokio::test]
async fn law_l11_a_unit_owner_forges_no_unit() {
    let Some(mut slice) = Slice::new("c") else { return };
    let unit = slice.make("user@1.service");
    let bank = slice.make("bank.service");
    slice.give("user@1.service", STRANGER);
    let forge = format!(
        "mkdir -p {unit}/system.slice/bank.service; echo $$ > {unit}/system.slice/bank.service/cgroup.procs; \
         echo $$ > {bank}/cgroup.procs; mkdir {slice}/evil.service; echo $$ > {slice}/cgroup.procs; exec sleep 60",
        unit = unit.display(),
        bank = bank.display(),
        slice = slice.folder.display(),
    );
    let process = slice.start("user@1.service", STRANGER, &format!("exec 2>/dev/null; {forge}"));
    let forged = unit.join("system.slice/bank.service");
    let in_forged = || std::fs::read_to_string(forged.join("cgroup.procs")).is_ok_and(|all| !all.is_empty());
    while !in_forged() {
        process.check_alive().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pids = std::fs::read_to_string(forged.join("cgroup.procs")).unwrap();
    let mover = Process::open(pids.lines().next().unwrap().parse().unwrap()).unwrap();
    let wanted = ["systemd:id:user@1.service", "systemd:unit:user@1.service"];
    becomes(&mover, &wanted);
    becomes(&process, &wanted);
    assert!(!slice.folder.join("evil.service").exists());
    // An attribute that the owner may write says nothing; one that takes CAP_SYS_ADMIN does.
    let set = |name: &str| {
        let code = format!("import os; os.setxattr({:?}, {name:?}, b{ID:?})", unit.display().to_string());
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &STRANGER.to_string(), "--clear-groups", "/usr/bin/python3", "-c", &code]);
        command.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !set("user.invocation_id") {
        crate::skipped("no python3, or no attributes of users");
        return;
    }
    assert_eq!(found(&mover), wanted);
    assert!(!set("trusted.invocation_id"));
    mark(&unit, "trusted.invocation_id", ID);
    assert_eq!(found(&mover).len(), 3);
}

#[tokio::test]
async fn law_l11_a_user_slice_names_no_unit() {
    let Some(mut slice) = Slice::new("d") else { return };
    let stem = slice.folder.file_stem().unwrap().to_str().unwrap().to_owned();
    let inner = format!("{stem}-x.slice");
    let unit = slice.make(&format!("{inner}/bank.service"));
    mark(&unit, "user.invocation_id", ID);
    let process = slice.start(&format!("{inner}/bank.service"), STRANGER, SLEEP);
    // Root alone may write it, so the attribute of users is root's.
    let id = format!("systemd:invocation_id:{ID}");
    let whole = ["systemd:id:bank.service", id.as_str(), "systemd:unit:bank.service"];
    becomes(&process, &whole);
    let chown = |below: &str, uid| std::os::unix::fs::chown(slice.folder.join(below), Some(uid), None).unwrap();
    for given in [inner.clone(), format!("{inner}/cgroup.procs"), String::new(), "cgroup.procs".into()] {
        chown(&given, STRANGER);
        assert_eq!(found(&process), Vec::<String>::new(), "{given}");
        chown(&given, 0);
        assert_eq!(found(&process), whole, "{given}");
    }
    chown(&format!("{inner}/bank.service"), STRANGER);
    assert_eq!(found(&process), ["systemd:id:bank.service", "systemd:unit:bank.service"]);
}
