use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::proc_text::{listener_inodes, socket_inode, stat_field};
use crate::{HostError, Process};

/// Whether `process` or one of its descendants holds the other end of the loopback TCP connection
/// whose ends are `remote` (theirs) and `local` (ours).
pub fn owns_tcp_peer(process: &Process, remote: SocketAddr, local: SocketAddr) -> Result<bool, HostError> {
    let table = if remote.is_ipv4() { "net/tcp" } else { "net/tcp6" };
    let Some(inode) = socket_inode(&process.read(table)?, remote, local) else {
        return Ok(false);
    };
    let wanted = format!("socket:[{inode}]");
    let held = family(process.pid()).into_iter().any(|pid| sockets_of(pid).contains(&wanted));
    process.check_alive()?;
    Ok(held)
}

/// Whether it is `process` or its descendants that listen on the TCP address `listener`, and nobody else: of two
/// listeners that a connection could reach the kernel chooses, so one of a stranger is one too many.
pub fn owns_tcp_listener(process: &Process, listener: SocketAddr) -> Result<bool, HostError> {
    let mut listening = BTreeSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        // A kernel without IPv6 has no such table.
        let text = process.read(table).unwrap_or_default();
        listening.extend(listener_inodes(&text, listener).into_iter().map(|inode| format!("socket:[{inode}]")));
    }
    let held = family(process.pid()).into_iter().flat_map(sockets_of).collect::<BTreeSet<_>>();
    process.check_alive()?;
    Ok(!listening.is_empty() && listening.is_subset(&held))
}

/// Whether `pid` is `process` or one of its descendants.
pub fn is_family(process: &Process, pid: i32) -> Result<bool, HostError> {
    let mut at = pid;
    let mut found = false;
    // Upwards, by parents: a list of children knows only those of one thread.
    for _ in 0..64 {
        if at == process.pid() {
            found = true;
            break;
        }
        match parent(at) {
            Some(parent) if parent > 1 => at = parent,
            _ => break,
        }
    }
    process.check_alive()?;
    Ok(found)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat_field(&stat, 1)?.try_into().ok()
}

/// A process and its descendants, nearest first, whichever of their threads made them.
fn family(root: i32) -> Vec<i32> {
    let mut out = vec![root];
    let mut at = 0;
    while let Some(&pid) = out.get(at) {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            out.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
        at += 1;
        if at > 1024 {
            break;
        }
    }
    out
}

/// The sockets that a process has open, as `socket:[inode]`.
fn sockets_of(pid: i32) -> Vec<String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok()?.into_os_string().into_string().ok());
    targets.filter(|target| target.starts_with("socket:")).collect()
}
