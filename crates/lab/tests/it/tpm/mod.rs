//! A software TPM (`swtpm`) with a certificate authority of its own: our client, our verifier and our agent on it.

mod agents;
mod approvals;
mod attestor;
mod boots;
mod certified;
mod challenges;
mod client;
mod costs;
mod cut;
mod devid;
mod evidence;
mod logs;
mod measured;
mod oracles;
mod resident;
mod states;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sekisho_tpm::{Socket, Tpm};
use sekisho_types::UnixTime;

pub const ROOT: &str = "swtpm-localca-rootca-cert.pem";
pub const ISSUER: &str = "issuer.pem";

/// A running software TPM.
pub struct Software {
    pub folder: tempfile::TempDir,
    program: Child,
}

impl Drop for Software {
    fn drop(&mut self) {
        let _dead = self.program.kill();
        let _reaped = self.program.wait();
    }
}

fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Whether there can be one; if not, a line says that the test is skipped.
pub fn is_installed() -> bool {
    let is_installed = ["swtpm", "swtpm_setup", "swtpm_localca"].into_iter().all(has_program);
    if !is_installed {
        crate::world::skipped("no swtpm; install swtpm-tools");
    }
    is_installed
}

impl Software {
    /// A new TPM, or `None` with a printed line where the programs are absent.
    pub fn new() -> Option<Self> {
        Self::of_model("swtpm")
    }

    /// The same, whose certificate names this model.
    pub fn of_model(model: &str) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::create_dir(folder.path().join("ca")).unwrap();
        write(
            "setup.conf",
            format!(
                "create_certs_tool = {at}/localca\ncreate_certs_tool_config = {at}/localca.conf\n\
                 create_certs_tool_options = {at}/options\nactive_pcr_banks = sha256\n"
            ),
        );
        write(
            "localca.conf",
            format!(
                "statedir = {at}/ca\nsigningkey = {at}/ca/key.pem\nissuercert = {at}/ca/issuer.pem\n\
                 certserial = {at}/ca/serial\n"
            ),
        );
        write(
            "options",
            format!(
                "--tpm-manufacturer id:00001014\n--tpm-model {model}\n--tpm-version 1\n\
                 --platform-manufacturer sekisho\n--platform-version 1\n--platform-model lab\n"
            ),
        );
        // `swtpm_setup` names the model itself.
        let named = "#!/bin/sh\nfor given do\n  shift\n  [ \"$before\" != --tpm-model ] || given=MODEL\n  \
                     before=$given\n  set -- \"$@\" \"$given\"\ndone\nexec swtpm_localca \"$@\"\n";
        write("localca", named.replace("MODEL", model));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(folder.path().join("localca"), mode).unwrap();
        let setup = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--vmid", "node-1", "--tpmstate"])
            .arg(folder.path().join("state"))
            .arg("--config")
            .arg(folder.path().join("setup.conf"))
            .output()
            .unwrap();
        assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stdout));
        let program = Self::start(folder.path());
        Some(Self { folder, program })
    }

    fn start(folder: &Path) -> Child {
        for stale in ["tpm.sock", "tpm.sock.ctrl"] {
            let _absent = std::fs::remove_file(folder.join(stale));
        }
        let state = format!("dir={}/state", folder.display());
        let server = format!("type=unixio,path={}/tpm.sock", folder.display());
        // tpm2-tools ask for a second socket.
        let control = format!("type=unixio,path={}/tpm.sock.ctrl", folder.display());
        let arguments = ["socket", "--tpm2", "--tpmstate", &state, "--server", &server, "--ctrl", &control];
        Command::new("swtpm")
            .args(arguments)
            .args(["--flags", "not-need-init,startup-clear"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Power off.
    pub fn stop(&mut self) {
        let _dead = self.program.kill();
        self.program.wait().unwrap();
    }

    /// Power off, power on.
    pub fn reboot(&mut self) {
        self.stop();
        self.program = Self::start(self.folder.path());
    }

    pub fn connect(&self) -> Tpm {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match Socket::connect(&self.socket()) {
                Ok(socket) => return Tpm::new(socket),
                Err(error) if Instant::now() > end => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("tpm.sock")
    }

    /// A PEM file of its authority: `issuer.pem`, or the root `swtpm-localca-rootca-cert.pem`.
    pub fn authority(&self, name: &str) -> String {
        self.folder.path().join("ca").join(name).display().to_string()
    }

    pub fn certificates(&self, name: &str) -> Vec<Vec<u8>> {
        let pem = std::fs::read(self.authority(name)).unwrap();
        x509_parser::pem::Pem::iter_from_buffer(&pem).map(|pem| pem.unwrap().contents).collect()
    }
}

/// The certificates are made now, by another program.
pub fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixTime::from_seconds(i64::try_from(since.as_secs()).unwrap() + 2)
}

/// Rust sources below a folder.
fn sources(folder: &Path) -> String {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let text = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(kind) if kind == "rs" => std::fs::read_to_string(path).unwrap(),
        _ => String::new(),
    };
    items.map(text).collect()
}

#[test]
fn each_attack_of_the_threat_model_has_tests() {
    let root = crate::world::manifest_folder().join("../..");
    let page = std::fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let (_, section) = page.split_once("## Attestation by TPM\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    let sources = sources(&root.join("crates"));
    for row in &rows {
        let tests = row.rsplit_once(" | ").map(|(_, tests)| tests.split('`').skip(1).step_by(2)).unwrap();
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "no test `{test}`: {row}");
        }
    }
    assert!(rows.len() > 20, "{} rows", rows.len());
}
