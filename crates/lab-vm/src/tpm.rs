//! Software TPMs whose endorsement certificates an authority of the lab signs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{at, run};

/// The attestor `tpm` refuses the model `swtpm`: a program is not hardware. The lab is about that attestor, so its
/// authority calls the model otherwise.
const MODEL: &str = "lab";

/// An authority of TPMs.
pub struct Authority(PathBuf);

impl Authority {
    /// An authority with its files in this folder. It makes its keys with the first TPM.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn new(folder: &Path) -> Result<Self, String> {
        at(folder, std::fs::create_dir_all(folder))?;
        let shown = folder.display();
        let write = |name: &str, text: String| at(folder, std::fs::write(folder.join(name), text));
        // `swtpm_setup` names the model; the last name counts.
        let tool = folder.join("tool");
        at(&tool, std::fs::write(&tool, format!("#!/bin/sh\nexec swtpm_localca \"$@\" --tpm-model {MODEL}\n")))?;
        at(&tool, std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)))?;
        write(
            "setup.conf",
            format!(
                "create_certs_tool = {shown}/tool\ncreate_certs_tool_config = {shown}/localca.conf\n\
                 create_certs_tool_options = {shown}/options\nactive_pcr_banks = sha256\n"
            ),
        )?;
        write(
            "localca.conf",
            format!(
                "statedir = {shown}\nsigningkey = {shown}/key.pem\nissuercert = {shown}/issuer.pem\n\
                 certserial = {shown}/serial\n"
            ),
        )?;
        write("options", "--platform-manufacturer sekisho\n--platform-version 1\n--platform-model lab\n".to_owned())?;
        Ok(Self(folder.to_owned()))
    }

    /// Makes a TPM with an endorsement certificate, which keeps its state in this folder.
    ///
    /// # Errors
    /// `swtpm_setup` fails.
    pub fn make(&self, state: &Path) -> Result<(), String> {
        at(state, std::fs::create_dir_all(state))?;
        let mut setup = Command::new("swtpm_setup");
        setup.args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--vmid", "node", "--tpmstate"]);
        run(setup.arg(state).arg("--config").arg(self.0.join("setup.conf"))).map(drop)
    }

    /// The root, which a server trusts.
    pub fn root(&self) -> PathBuf {
        self.0.join("swtpm-localca-rootca-cert.pem")
    }

    /// The authority between the root and a TPM's certificate, which a node brings.
    pub fn issuer(&self) -> PathBuf {
        self.0.join("issuer.pem")
    }
}

/// A software TPM that waits for a virtual machine. It stops with the machine.
pub struct Running {
    program: Child,
    pub socket: PathBuf,
}

impl Running {
    /// Powers a TPM on.
    ///
    /// # Errors
    /// `swtpm` does not start, or opens no socket within 10 s.
    pub fn start(state: &Path) -> Result<Self, String> {
        let socket = state.with_extension("sock");
        let _stale = std::fs::remove_file(&socket);
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--terminate", "--tpmstate"]).arg(format!("dir={}", state.display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let quiet = swtpm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = quiet.spawn().map_err(|error| format!("swtpm cannot be started: {error}"))?;
        let running = Self { program, socket };
        let end = Instant::now() + Duration::from_secs(10);
        while !running.socket.exists() {
            if Instant::now() > end {
                return Err(format!("swtpm opened no socket {}", running.socket.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has stopped with its machine, if that was powered off.
        let _dead = self.program.kill();
        let _reaped = self.program.wait();
    }
}
