//! The systemd unit in the path of a control group.

use sekisho_evidence::is_unit_name;

/// The unit that a path leads into.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnitPath<'a> {
    /// The groups above the unit, outermost first, each below the one before it.
    pub slices: Vec<&'a str>,
    /// The unit's own group, below the last of them.
    pub group: &'a str,
    /// Its name, as systemd writes it.
    pub name: String,
}

/// Reads a path from the root of the hierarchy: slices, then the unit. What lies below the unit is the unit's business:
/// its owner may make groups of any name there, so the *outermost* unit is the one (user@1000.service, never what a
/// user's own manager made below it).
pub(super) fn unit_path(path: &str) -> Option<UnitPath<'_>> {
    let mut slices = vec![];
    let mut above: Option<&str> = None;
    for group in path.strip_prefix('/')?.split('/') {
        let name = unescaped(group);
        let Some(stem) = name.strip_suffix(".slice") else {
            return is_unit_name(name).then(|| UnitPath { slices, group, name: name.to_owned() });
        };
        // `a-b.slice` lies in `a.slice` and nowhere else (systemd.slice(5)).
        let last = match above {
            Some(above) => stem.strip_prefix(above)?.strip_prefix('-')?,
            None => stem,
        };
        if !is_part_of_slice(last) {
            return None;
        }
        above = Some(stem);
        slices.push(group);
    }
    None
}

/// systemd writes an underscore before a name that is also one of the kernel's files (`cpu.service`), and before one
/// that begins with an underscore.
fn unescaped(group: &str) -> &str {
    group.strip_prefix('_').unwrap_or(group)
}

fn is_part_of_slice(part: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.' | b'\\' | b'@');
    !part.is_empty() && part.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Option<(usize, String)> {
        unit_path(path).map(|unit| (unit.slices.len(), unit.name))
    }

    #[test]
    fn the_outermost_unit_below_slices_counts() {
        for (path, depth, name) in [
            ("/init.scope", 0, "init.scope"),
            ("/system.slice/nginx.service", 1, "nginx.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", 2, "getty@tty1.service"),
            ("/user.slice/user-1000.slice/session-3.scope", 2, "session-3.scope"),
            (r"/system.slice/system-a\x2db.slice/a@1.service", 2, "a@1.service"),
            ("/system.slice/_cpu.service", 1, "cpu.service"),
            ("/system.slice/__a.service", 1, "_a.service"),
            ("/system.slice/nginx.service/worker/deep", 1, "nginx.service"),
        ] {
            assert_eq!(unit(path), Some((depth, name.to_owned())), "{path}");
        }
    }

    #[test]
    fn names_below_a_unit_are_its_owner_s() {
        for below in ["app.slice/nginx.service", "system.slice/nginx.service", "nginx.service", "a/../../x.service"] {
            let path = format!("/user.slice/user-1000.slice/user@1000.service/{below}");
            assert_eq!(unit(&path), Some((2, "user@1000.service".to_owned())), "{path}");
        }
    }

    #[test]
    fn law_l3_a_path_unlike_systemds_has_no_unit() {
        for path in [
            "/",
            "",
            "//nginx.service",
            "system.slice/nginx.service",
            "/system.slice",
            "/docker/0a1b/nginx.service",
            "/kubepods/nginx.service",
            "/../nginx.service",
            "/system.slice/../nginx.service",
            "/system.slice/user-1000.slice/nginx.service",
            "/system.slice/system.slice/nginx.service",
            "/system-a.slice/nginx.service",
            "/user.slice/user-1000-x.slice/nginx.service",
            "/.slice/nginx.service",
            "/system.slice/nginx.service (deleted)",
            "/system.slice/nginx",
            "/system.slice/getty@.service",
            "/system.slice/a b.service",
            "/system.slice/.service",
        ] {
            assert_eq!(unit(path), None, "{path}");
        }
    }
}
