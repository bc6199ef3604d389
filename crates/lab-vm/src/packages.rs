//! What the lab needs of this machine: programs, and packages that `deploy/setup.sh lab` unpacks below the cache.

use std::path::{Path, PathBuf};

/// Programs, and the package of each.
const PROGRAMS: [(&str, &str); 8] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("swtpm", "swtpm"),
    ("swtpm_setup", "swtpm-tools"),
    ("objcopy", "binutils"),
    ("strip", "binutils"),
    ("ldd", "libc-bin"),
    ("tar", "tar"),
    ("gzip", "gzip"),
];
/// For signed images.
const SIGNING: [(&str, &str); 1] = [("openssl", "openssl")];
const STUB: &str = "systemd-boot-efi/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const BUSYBOX: &str = "busybox-static/bin/busybox";
const FIRMWARE: &str = "ovmf/usr/share/OVMF";
const KEYS: &str = "ovmf/usr/share/ovmf";
const SBSIGN: &str = "sbsigntool/usr/bin/sbsign";
const KERNEL: &str = "linux/boot";
const MODULES: &str = "linux/lib/modules";

/// Files of the packages.
pub struct Packages {
    pub kernel: PathBuf,
    /// The folder of the kernel's modules.
    pub modules: PathBuf,
    pub stub: PathBuf,
    pub busybox: PathBuf,
    pub sbsign: PathBuf,
    /// Firmware images and their variables.
    pub firmware: PathBuf,
    /// The key that OVMF's variables for tests trust.
    pub keys: PathBuf,
    /// The program under test.
    pub sekisho: PathBuf,
}

impl Packages {
    /// # Errors
    /// The list of what is missing, and how to get it.
    pub fn find(sekisho: PathBuf) -> Result<Self, String> {
        let mut missing: Vec<String> = PROGRAMS
            .into_iter()
            .chain(SIGNING)
            .filter(|(program, _)| !is_installed(program))
            .map(|(program, package)| format!("{program} (package {package})"))
            .collect();
        let cache = cache().ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("sekisho/vm");
        for file in [STUB, BUSYBOX, FIRMWARE, KEYS, SBSIGN] {
            if !cache.join(file).exists() {
                missing.push(format!("{} (package {})", cache.join(file).display(), first_part(file)));
            }
        }
        let (kernel, modules) = (one_of(&cache.join(KERNEL), "vmlinuz-"), one_of(&cache.join(MODULES), ""));
        if kernel.is_none() || modules.is_none() {
            missing.push(format!("{} (package linux-image-cloud-amd64)", cache.join(KERNEL).display()));
        }
        if !sekisho.is_file() {
            missing.push(format!("{} (`cargo build -p sekisho`)", sekisho.display()));
        }
        match (kernel, modules) {
            (Some(kernel), Some(modules)) if missing.is_empty() => Ok(Self {
                kernel,
                modules,
                stub: cache.join(STUB),
                busybox: cache.join(BUSYBOX),
                sbsign: cache.join(SBSIGN),
                firmware: cache.join(FIRMWARE),
                keys: cache.join(KEYS),
                sekisho,
            }),
            _ => Err(format!("missing: {}; `deploy/setup.sh lab` installs packages", missing.join(", "))),
        }
    }
}

fn first_part(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn cache() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The last item of a folder with this beginning, by name.
fn one_of(folder: &Path, beginning: &str) -> Option<PathBuf> {
    let items = std::fs::read_dir(folder).ok()?.flatten().map(|item| item.path());
    items.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))).max()
}
