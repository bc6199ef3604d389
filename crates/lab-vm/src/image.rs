//! Unified kernel images: systemd-stub, a kernel, its command line and an initramfs with the agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cpio::Archive;
use crate::packages::Packages;
use crate::run::{at, run};

/// Modules in the order in which they are loaded, by their place in the kernel's folder.
const MODULES: [&str; 13] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "fs/efivarfs/efivarfs",
    // The agent asks the kernel who holds a connection.
    "net/unix/unix_diag",
    "net/ipv4/inet_diag",
    "net/ipv4/tcp_diag",
];
/// IMA measures programs, libraries, modules and files that root reads, but nothing in tmpfs: so the root is `ramfs`.
const COMMAND_LINE: &str = "console=ttyS0 ima_policy=tcb rootfstype=ramfs panic=-1 quiet";
/// Where sections are put in memory. The stub itself ends before 0x20000, a kernel has 16 MiB.
const SECTIONS: [(&str, &str); 4] =
    [(".osrel", "0x20000"), (".cmdline", "0x30000"), (".linux", "0x2000000"), (".initrd", "0x3000000")];

/// What an image has besides kernel and agent.
#[derive(Clone)]
pub struct Contents {
    pub name: &'static str,
    pub command_line: String,
    /// Files of the initramfs for the agent: path and content.
    pub settings: Vec<(String, Vec<u8>)>,
    /// Programs of the initramfs that were not meant to be there.
    pub implants: Vec<(&'static str, &'static str)>,
}

impl Contents {
    pub fn new(name: &'static str, settings: Vec<(String, Vec<u8>)>) -> Self {
        Self { name, command_line: COMMAND_LINE.to_owned(), settings, implants: vec![] }
    }
}

/// A built image, and what `sekisho boot predict` computes from it.
pub struct Image {
    pub path: PathBuf,
    pub name: &'static str,
    predicted: Value,
}

impl Image {
    /// Builds an image in a folder of its own below `folder`.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a tool that fails.
    pub fn build(packages: &Packages, contents: &Contents, folder: &Path) -> Result<Self, String> {
        let parts = folder.join(contents.name);
        at(&parts, std::fs::create_dir_all(&parts))?;
        let write = |name: &str, content: &[u8]| at(&parts, std::fs::write(parts.join(name), content));
        write(".osrel", format!("ID=lab\nVERSION_ID={}\n", contents.name).as_bytes())?;
        write(".cmdline", contents.command_line.as_bytes())?;
        write(".initrd", &initramfs(packages, contents, &parts)?)?;
        // The firmware reads and hashes the whole of it: less is faster, although it has to be unpacked.
        run(Command::new("gzip").args(["-1", "-n", "-f"]).arg(parts.join(".initrd")))?;
        let path = folder.join(format!("{}.efi", contents.name));
        let mut objcopy = Command::new("objcopy");
        for (section, address) in SECTIONS {
            let file = match section {
                ".linux" => packages.kernel.clone(),
                ".initrd" => parts.join(".initrd.gz"),
                _ => parts.join(section),
            };
            objcopy.arg("--add-section").arg(format!("{section}={}", file.display()));
            objcopy.arg("--change-section-vma").arg(format!("{section}={address}"));
        }
        run(objcopy.arg(&packages.stub).arg(&path))?;
        Self::at(packages, contents.name, path, &[])
    }

    fn at(packages: &Packages, name: &'static str, path: PathBuf, further: &[&str]) -> Result<Self, String> {
        let mut predict = Command::new(&packages.sekisho);
        predict.args(["boot", "predict", "--name", name, "-o", "json"]).args(further);
        let printed = run(predict.arg(&path))?;
        let predicted = serde_json::from_str(&printed).map_err(|error| format!("boot predict: {error}"))?;
        Ok(Self { path, name, predicted })
    }

    /// The same image with a signature by the key that OVMF's variables for tests trust, predicted with these further
    /// options.
    ///
    /// # Errors
    /// A tool that fails.
    pub fn signed(&self, packages: &Packages, predict: &[&str]) -> Result<Self, String> {
        let (key, path) = (self.path.with_extension("key"), self.path.with_extension("signed.efi"));
        let encrypted = packages.keys.join("PkKek-1-snakeoil.key");
        let mut openssl = Command::new("openssl");
        run(openssl.args(["pkey", "-passin", "pass:snakeoil", "-in"]).arg(encrypted).arg("-out").arg(&key))?;
        let mut sbsign = Command::new(&packages.sbsign);
        sbsign.arg("--key").arg(key).arg("--cert").arg(packages.keys.join("PkKek-1-snakeoil.pem"));
        run(sbsign.arg("--output").arg(&path).arg(&self.path))?;
        Self::at(packages, self.name, path, predict)
    }

    /// The image's element of `images` in a boot policy.
    pub fn admitted(&self) -> Value {
        self.predicted["image"].clone()
    }

    /// PCRs and the values that they have after a boot of the image.
    pub fn pcrs(&self) -> BTreeMap<String, String> {
        let pcrs = self.predicted["pcrs"].as_object().into_iter().flatten();
        pcrs.filter_map(|(pcr, value)| Some((pcr.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// Files of the initramfs and their digests.
    pub fn files(&self) -> BTreeMap<String, String> {
        let files = self.predicted["files"].as_array().into_iter().flatten();
        let text = |file: &Value, member: &str| file[member].as_str().map(str::to_owned);
        files.filter_map(|file| Some((text(file, "path")?, text(file, "sha256")?))).collect()
    }
}

fn initramfs(packages: &Packages, contents: &Contents, work: &Path) -> Result<Vec<u8>, String> {
    let read = |path: &Path| at(path, std::fs::read(path));
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "data"] {
        archive.folder(folder);
    }
    archive.program("init", include_bytes!("init.sh"));
    archive.program("bin/busybox", &read(&packages.busybox)?);
    let stripped = work.join("sekisho");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&packages.sekisho))?;
    archive.program("bin/sekisho", &read(&stripped)?);
    for library in libraries(&packages.sekisho)? {
        archive.program(library.trim_start_matches('/'), &read(Path::new(&library))?);
    }
    let mut order = String::new();
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.file(&format!("modules/{name}.ko"), &read(&packages.modules.join(format!("kernel/{module}.ko")))?);
        order.push_str(&format!("{name}\n"));
    }
    archive.file("modules/order", order.as_bytes());
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("etc/group", b"root:x:0:\n");
    for (path, content) in &contents.settings {
        archive.file(path, content);
    }
    for (path, text) in &contents.implants {
        archive.program(path, text.as_bytes());
    }
    Ok(archive.finish())
}

/// Paths of the libraries that a program is linked with, and of the program that loads them.
fn libraries(program: &Path) -> Result<Vec<String>, String> {
    let listed = run(Command::new("ldd").arg(program))?;
    let path = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().find(|word| word.starts_with('/')).map(|word| (*word).to_owned())
    };
    Ok(listed.lines().filter_map(path).collect())
}
