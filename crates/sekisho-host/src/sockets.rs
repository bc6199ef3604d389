use std::net::SocketAddr;

use crate::{HostError, Process};

/// Whether `process` or one of its descendants holds the other end of the loopback TCP connection
/// whose ends are `remote` (theirs) and `local` (ours).
pub fn owns_tcp_peer(process: &Process, remote: SocketAddr, local: SocketAddr) -> Result<bool, HostError> {
    let table = if remote.is_ipv4() { "net/tcp" } else { "net/tcp6" };
    let Some(inode) = socket_inode(&process.read(table)?, remote, local) else {
        return Ok(false);
    };
    let wanted = format!("socket:[{inode}]");
    let held = family(process.pid()).into_iter().any(|pid| holds(pid, &wanted));
    process.check_alive()?;
    Ok(held)
}

/// Whether `process` or one of its descendants listens on the TCP address `listener`.
pub fn owns_tcp_listener(process: &Process, listener: SocketAddr) -> Result<bool, HostError> {
    let port = format!(":{:04X}", listener.port());
    let mut ours = vec![hex_address(listener)];
    let mut tables = vec!["net/tcp6"];
    if let SocketAddr::V4(v4) = listener {
        let mapped = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
        ours.extend([format!("{}{port}", "0".repeat(8)), hex_address(mapped)]);
        tables.push("net/tcp");
    }
    // A listener on `::` takes IPv4 as well, as Go's and Java's do by default.
    ours.push(format!("{}{port}", "0".repeat(32)));
    let mut wanted = Vec::new();
    for table in tables {
        // A kernel without IPv6 has no such table.
        let text = process.read(table).unwrap_or_default();
        wanted.extend(text.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is LISTEN.
            let listens =
                fields.get(1).is_some_and(|f| ours.iter().any(|known| known == f)) && fields.get(3) == Some(&"0A");
            fields.get(9).filter(|_| listens).map(|inode| format!("socket:[{inode}]"))
        }));
    }
    let held = family(process.pid()).into_iter().any(|pid| wanted.iter().any(|inode| holds(pid, inode)));
    process.check_alive()?;
    Ok(held)
}

/// Whether `pid` is `process` or one of its descendants.
pub fn is_family(process: &Process, pid: i32) -> Result<bool, HostError> {
    let found = family(process.pid()).contains(&pid);
    process.check_alive()?;
    Ok(found)
}

/// The inode of the socket with these ends in the kernel's table.
fn socket_inode(table: &str, ours: SocketAddr, theirs: SocketAddr) -> Option<u64> {
    let (ours, theirs) = (hex_address(ours), hex_address(theirs));
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let same = fields.get(1).is_some_and(|f| **f == ours) && fields.get(2).is_some_and(|f| **f == theirs);
        fields.get(9).filter(|_| same)?.parse().ok()
    })
}

/// An address as /proc/net/tcp writes it: each 32-bit word in host order, in hexadecimal.
fn hex_address(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).filter_map(|word| <[u8; 4]>::try_from(word).ok());
    let text: String = words.map(|word| format!("{:08X}", u32::from_ne_bytes(word))).collect();
    format!("{text}:{:04X}", address.port())
}

/// A process and its descendants, nearest first.
fn family(root: i32) -> Vec<i32> {
    let mut out = vec![root];
    let mut at = 0;
    while let Some(&pid) = out.get(at) {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        out.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        at += 1;
        if at > 1024 {
            break;
        }
    }
    out
}

fn holds(pid: i32, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}
