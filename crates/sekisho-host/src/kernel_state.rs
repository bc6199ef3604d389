//! The state of this machine's kernel, as it shows it: selectors of class `kernel`.

use std::path::Path;

/// Which names and values; what the kernel does not show is absent.
pub type KernelState = Vec<(&'static str, String)>;

/// Four bytes of attributes, then one of value.
const SECURE_BOOT: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Reads the state now.
pub fn kernel_state() -> KernelState {
    below(Path::new("/"))
}

fn below(root: &Path) -> KernelState {
    let text = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let secure_boot = || match std::fs::read(root.join(SECURE_BOOT)).ok()?.as_slice() {
        [_, _, _, _, 0] => Some("false".to_owned()),
        [_, _, _, _, 1] => Some("true".to_owned()),
        _ => None,
    };
    // `none [integrity] confidentiality`: the mode in force stands in brackets.
    let lockdown = || {
        let modes = text("sys/kernel/security/lockdown")?;
        modes.split_whitespace().find_map(|mode| Some(mode.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
    };
    let module_signing = || match text("sys/module/module/parameters/sig_enforce")?.as_str() {
        "Y" => Some("enforced".to_owned()),
        "N" => Some("not_enforced".to_owned()),
        _ => None,
    };
    let all = [
        ("release", text("proc/sys/kernel/osrelease")),
        ("lockdown", lockdown()),
        ("secure_boot", secure_boot()),
        ("module_signing", module_signing()),
        ("tainted", text("proc/sys/kernel/tainted")),
        ("boot_id", text("proc/sys/kernel/random/boot_id")),
        ("host_uuid", text("sys/class/dmi/id/product_uuid").map(|uuid| uuid.to_ascii_lowercase())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_down_kernel_says_so() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("proc/sys/kernel/osrelease", &b"6.1.0-28-amd64\n"[..]),
            ("proc/sys/kernel/tainted", b"4096\n"),
            ("proc/sys/kernel/random/boot_id", b"0a1b2c3d-0000-4000-8000-000000000001\n"),
            ("sys/class/dmi/id/product_uuid", b"4C4C4544-0000-1000-8000-000000000002\n"),
            ("sys/kernel/security/lockdown", b"none [integrity] confidentiality\n"),
            ("sys/module/module/parameters/sig_enforce", b"Y\n"),
            (SECURE_BOOT, &[6, 0, 0, 0, 1]),
        ] {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        let text = |(name, value): &(&str, String)| format!("{name}:{value}");
        let state: Vec<String> = below(root.path()).iter().map(text).collect();
        assert_eq!(
            state,
            [
                "release:6.1.0-28-amd64",
                "lockdown:integrity",
                "secure_boot:true",
                "module_signing:enforced",
                "tainted:4096",
                "boot_id:0a1b2c3d-0000-4000-8000-000000000001",
                "host_uuid:4c4c4544-0000-1000-8000-000000000002"
            ]
        );
    }

    #[test]
    fn what_a_kernel_does_not_show_is_absent() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(below(root.path()), []);
        let shown = kernel_state();
        let uname = std::process::Command::new("uname").arg("-r").output().unwrap().stdout;
        let release = shown.iter().find(|(name, _)| *name == "release").map(|(_, value)| value.as_bytes());
        assert_eq!(release, Some(uname.trim_ascii()));
        assert!(shown.iter().any(|(name, _)| *name == "boot_id"), "{shown:?}");
    }
}
