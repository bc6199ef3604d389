//! Texts that the kernel writes below /proc, and the local user files: read without trusting their form. A process
//! names itself in some of them.

/// Field `index` of `/proc/<pid>/stat`, counted from the state behind the command's last parenthesis: a command may
/// hold parentheses and spaces.
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

/// The process that traces this one (ptrace(2)), from `/proc/<pid>/status`; zero if none does.
pub fn tracer(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
}

/// The files that have executable memory, from `/proc/<pid>/maps`: major and minor number of the device, and inode.
/// `None` where there is none, or where a line is not understood.
pub fn code_files(maps: &str) -> Option<Vec<(u32, u32, u64)>> {
    let mut files = vec![];
    for line in maps.lines() {
        // `start-end perms offset device inode path`
        let mut fields = line.split_whitespace();
        let permissions = fields.nth(1)?;
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        let inode: u64 = fields.next()?.parse().ok()?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        if permissions.contains('x') && inode != 0 {
            files.push((number(major)?, number(minor)?, inode));
        }
    }
    (!files.is_empty()).then_some(files)
}

/// The effective capabilities, from `/proc/<pid>/status`.
pub fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether a descriptor is closed on exec, from `/proc/<pid>/fdinfo/<descriptor>`: its flags are octal.
pub fn closed_on_exec(fdinfo: &str) -> Option<bool> {
    /// O_CLOEXEC, the same on all architectures that Linux has but two, alpha and sparc.
    const CLOSE_ON_EXEC: u32 = 0o200_0000;
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(line.trim(), 8).ok().map(|flags| flags & CLOSE_ON_EXEC != 0)
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

/// The path of a process's group in the one hierarchy (cgroup v2), from `/proc/<pid>/cgroup`.
pub fn unified_group(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Where the whole of that hierarchy is mounted, from `/proc/self/mountinfo`.
pub fn unified_mount(mountinfo: &str) -> Option<String> {
    let of = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A path with blanks is written with escapes, and is not one of systemd's.
        (kind.starts_with("cgroup2 ") && root == "/" && !point.contains('\\')).then(|| point.to_owned())
    };
    mountinfo.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_imitate_fields() {
        let stat = "7 (a) R 1 (b) S 5 7 7 0 -1 4194560";
        assert_eq!((stat_field(stat, 1), stat_field(stat, 0)), (Some(5), None));
        assert_eq!(stat_field("7 (a", 1), None);
        let status = "Name:\tUid: 0 0\nUid:\t5\t6\t7\t8\nGid:\t1\t2\t3\t4\nGroups:\t9 10 \n";
        assert_eq!(credentials(status), Some((6, 2, vec![9, 10])));
        assert_eq!(credentials("Uid:\t5\n"), None);
        assert_eq!((all_users(status), all_users("Name:\tUid:\n")), (vec![5, 6, 7, 8], vec![]));
        assert_eq!((tracer("Name:\tTracerPid: 1\nTracerPid:\t7\n"), tracer("")), (Some(7), None));
        assert_eq!(capabilities("CapPrm:\tff\nCapEff:\t0000000000080000\n"), Some(1 << 19));
        let closed = |flags: &str| closed_on_exec(&format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t9\n"));
        assert_eq!((closed("02000002"), closed("02"), closed("9")), (Some(true), Some(false), None));
    }

    #[test]
    fn the_one_hierarchy_is_found_among_others() {
        let cgroup = "9:name=systemd:/a\n0::/system.slice/b.service\n";
        assert_eq!(unified_group(cgroup), Some("/system.slice/b.service"));
        assert_eq!((unified_group("1:cpu:/0::/x\n"), unified_group("")), (None, None));
        let mounts = "31 20 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      40 31 0:38 /below /mnt rw - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(unified_mount(mounts).as_deref(), Some("/sys/fs/cgroup/unified"));
        assert_eq!(unified_mount("41 31 0:38 / /a\\040b rw - cgroup2 cgroup2 rw"), None);
    }

    #[test]
    fn mapped_files_with_code_are_found() {
        let maps = "00400000-00401000 r--p 00000000 08:01 42                 /bin/a\n\
                    00401000-00402000 r-xp 00001000 08:1f 42                 /bin/a\n\
                    7f00-7f01 r-xp 00000000 00:00 0                          [vdso]\n\
                    7f02-7f03 rwxp 00000000 00:1c 7 /lib/x y (deleted)\n";
        assert_eq!(code_files(maps), Some(vec![(8, 0x1f, 42), (0, 0x1c, 7)]));
        assert_eq!(code_files(""), None);
        assert_eq!(code_files("00400000-00401000 r-xp 00000000 08:01\n"), None);
    }
}
