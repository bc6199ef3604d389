//! Texts that the kernel writes below /proc, and the local user files: read without trusting their form. A process names
//! itself in some of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Field `index` of `/proc/<pid>/stat`, counted from the state behind the command's last parenthesis: a command may hold
/// parentheses and spaces.
pub fn stat_field(stat: &str, index: usize) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(index)?.parse().ok()
}

/// Effective uid and gid, and the supplementary groups, from `/proc/<pid>/status`.
pub fn credentials(status: &str) -> Option<(u32, u32, Vec<u32>)> {
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().map(|number| number.parse().ok()).collect()
    };
    let effective = |name| numbers(name)?.get(1).copied();
    Some((effective("Uid:")?, effective("Gid:")?, numbers("Groups:")?))
}

/// The inode of the socket with these ends in `/proc/net/tcp` or `tcp6`.
pub fn socket_inode(table: &str, ours: SocketAddr, theirs: SocketAddr) -> Option<u64> {
    let (ours, theirs) = (hex_address(ours), hex_address(theirs));
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let same = fields.get(1).is_some_and(|f| **f == ours) && fields.get(2).is_some_and(|f| **f == theirs);
        fields.get(9).filter(|_| same)?.parse().ok()
    })
}

/// The inodes of sockets in such a table that take connections to `address`, by it alone or by all addresses.
pub fn listener_inodes(table: &str, address: SocketAddr) -> BTreeSet<u64> {
    let port = format!(":{:04X}", address.port());
    // A listener on `::` takes IPv4 as well, as Go's and Java's do by default.
    let mut known = vec![hex_address(address), format!("{}{port}", "0".repeat(32))];
    if let SocketAddr::V4(v4) = address {
        let mapped = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
        known.extend([format!("{}{port}", "0".repeat(8)), hex_address(mapped)]);
    }
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // State 0A is LISTEN.
        let listens = known.iter().any(|known| fields.get(1) == Some(&known.as_str())) && fields.get(3) == Some(&"0A");
        fields.get(9).filter(|_| listens)?.parse().ok()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The name with number `id` in a file of `name:password:number:…` lines.
pub fn name_of(file: &str, id: u32) -> Option<String> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == id).then(|| name.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_looks_like_fields_deceives_nobody() {
        let stat = "7 (a) R 1 (b) S 5 7 7 0 -1 4194560";
        assert_eq!((stat_field(stat, 1), stat_field(stat, 0)), (Some(5), None));
        assert_eq!(stat_field("7 (a", 1), None);
        let status = "Name:\tUid: 0 0\nUid:\t5\t6\t7\t8\nGid:\t1\t2\t3\t4\nGroups:\t9 10 \n";
        assert_eq!(credentials(status), Some((6, 2, vec![9, 10])));
        assert_eq!(credentials("Uid:\t5\n"), None);
    }
}
