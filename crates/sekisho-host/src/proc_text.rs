//! Texts that the kernel writes below /proc, and the local user files: read without trusting their form. A process names
//! itself in some of them.

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

/// All users of a process in `/proc/<pid>/status`: real, effective, saved and of the file system.
pub fn all_users(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
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
        assert_eq!((all_users(status), all_users("Name:\tUid:\n")), (vec![5, 6, 7, 8], vec![]));
    }
}
