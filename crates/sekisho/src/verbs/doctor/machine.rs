//! What the kernel, the file system and a process's limits allow.

use sekisho_runtime::dev_folder;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::check::Check;

/// Free space below which writing will soon fail, in bytes.
const LEAST_SPACE: u64 = 512 * 1024 * 1024;
/// Each connection of a workload takes two descriptors: its socket, and the process that is held.
const LEAST_FILES: u64 = 4096;

pub(super) fn checks() -> Vec<Check> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let (release, boot) = (read("/proc/sys/kernel/osrelease"), read("/proc/sys/kernel/random/boot_id"));
    vec![
        Check::new("kernel", kernel(&release), "Linux 5.3 or later is needed to hold processes by pidfd"),
        Check::new(
            "proc",
            if boot.is_empty() { Err("/proc is not mounted".into()) } else { hidepid(&mounts) },
            "mount /proc with hidepid=0, or give the agent CAP_SYS_PTRACE as its unit does: it cannot measure other \
                users' processes",
        ),
    ]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn kernel(release: &str) -> Result<String, String> {
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.parse::<u32>().ok());
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
        (6, 5..) | (7.., _) => Ok(format!("{release}: peers are held by SO_PEERPIDFD")),
        (5, 3..) | (6, _) => Ok(format!("{release}: peers are held by pidfd_open, with the start time checked again")),
        _ => Err(release.to_owned()),
    }
}

/// Whether processes of other users can be seen, by the mount options of /proc.
fn hidepid(mounts: &str) -> Result<String, String> {
    // What was mounted last lies on top.
    let options = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == "/proc").then(|| fields.nth(1)).flatten()
    });
    let hides = options.and_then(|options| options.split(',').find(|option| option.starts_with("hidepid=")));
    match hides {
        None | Some("hidepid=0" | "hidepid=off") => Ok("processes of all users can be seen".into()),
        // Whether that binds the agent depends on its capabilities, which its unit gives it.
        Some(option) => {
            Ok(format!("mounted with {option}: an agent that is not root needs CAP_SYS_PTRACE, as its unit gives"))
        }
    }
}

/// Free space on the file system of a daemon's folder.
pub(super) fn space(id: &'static str, folder: &Path) -> Check {
    let shown = folder.display();
    let result = match rustix::fs::statvfs(folder) {
        Err(error) => Err(format!("{shown}: {error}")),
        Ok(found) => {
            let (free, files) = (found.f_bavail * found.f_frsize, found.f_favail);
            let said = format!("{} MiB and {files} files free at {shown}", free / (1024 * 1024));
            // A file system without inodes says 0 of 0.
            let full = free < LEAST_SPACE || (found.f_files > 0 && files < 1000);
            if full { Err(said) } else { Ok(said) }
        }
    };
    Check::new(
        id,
        result,
        "free some space: what has to be durable is refused while the disk is full, and works again by itself \
            afterwards",
    )
}

/// How many files the process behind a socket may open.
pub(super) fn files(id: &'static str, socket: &Path) -> Option<Check> {
    let stream = UnixStream::connect(socket).ok()?;
    let pid = rustix::net::sockopt::socket_peercred(&stream).ok()?.pid;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).ok()?;
    Some(Check::new(
        id,
        open_files(&limits),
        "raise `LimitNOFILE=` of its unit: connections beyond it are not accepted",
    ))
}

fn open_files(limits: &str) -> Result<String, String> {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft {
        Some("unlimited") => Ok("no limit".into()),
        Some(soft) if soft.parse::<u64>().is_ok_and(|soft| soft >= LEAST_FILES) => Ok(format!("{soft} open files")),
        other => Err(format!("{} open files", other.unwrap_or("an unknown number of"))),
    }
}

/// Whether processes of other users reach a socket through the folders above it.
pub(super) fn reachable(id: &'static str, socket: &Path) -> Check {
    let closed = socket.ancestors().skip(1).find(|folder| {
        let mode = std::fs::metadata(folder).map(|meta| meta.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o001 == 0)
    });
    let own = std::os::unix::fs::MetadataExt::uid;
    let mine = std::fs::metadata(socket)
        .is_ok_and(|meta| own(&meta) == rustix::process::geteuid().as_raw() && own(&meta) != 0);
    let result = match closed {
        None => Ok("open to processes of every user".into()),
        // An agent that runs as one user serves that user, as that of `sekisho dev` does.
        Some(_) if mine || socket.starts_with(dev_folder()) => Ok("open to processes of this user".into()),
        Some(folder) => Err(format!("{} is closed to other users", folder.display())),
    };
    Check::new(
        id,
        result,
        "chmod o+x that folder, or put the socket elsewhere with `--agent-socket`: only its owner's processes get \
            identities",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_is_judged() {
        assert!(kernel("6.5.0-1-amd64").unwrap().contains("SO_PEERPIDFD"));
        assert!(kernel("5.10.0").unwrap().contains("pidfd_open"));
        assert!(kernel("4.19.0").is_err() && kernel("").is_err());
        assert!(hidepid("proc /proc proc rw,nosuid 0 0\n").is_ok());
        assert!(hidepid("proc /proc proc rw,hidepid=invisible 0 0\n").unwrap().contains("CAP_SYS_PTRACE"));
        assert!(hidepid("proc /proc proc rw,hidepid=2 0 0\nproc /proc proc rw 0 0\n").is_ok());
        let limits =
            |soft: &str| format!("Limit  Soft  Hard  Units\nMax open files            {soft}    524288  files\n");
        assert!(open_files(&limits("65536")).is_ok() && open_files(&limits("unlimited")).is_ok());
        assert_eq!(open_files(&limits("1024")), Err("1024 open files".into()));
        assert!(open_files("").is_err());
    }
}
