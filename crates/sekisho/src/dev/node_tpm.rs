//! The TPM of the first node: one of this machine, or a program in its place, with a certificate authority of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use sekisho_disk::private_folder;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::folder::Folder;
use super::process::{PATIENCE, Roles, strings};
use crate::exit::Failure;
use crate::progress::Progress;

/// What a software TPM takes.
const PROGRAMS: [&str; 3] = ["swtpm", "swtpm_setup", "swtpm_localca"];
/// In which Debian has them.
const PACKAGES: &str = "swtpm swtpm-tools";

#[derive(Debug, Clone, Args)]
pub(super) struct TpmArgs {
    /// TPM 2.0 of this machine, as `/dev/tpmrm0`, in place of a software TPM
    #[arg(long, env = "SEKISHO_DEV_TPM", value_name = "PATH", requires = "tpm_ca")]
    tpm: Option<PathBuf>,
    /// Its manufacturer's authorities (PEM)
    #[arg(long, env = "SEKISHO_DEV_TPM_CA", value_name = "FILE", requires = "tpm")]
    tpm_ca: Option<PathBuf>,
    /// Authorities (PEM) between its certificate and one of `--tpm-ca`
    #[arg(long, env = "SEKISHO_DEV_TPM_CHAIN", value_name = "FILE", requires = "tpm")]
    tpm_chain: Option<PathBuf>,
}

/// What a node has of a TPM, and by which authorities the server judges it.
pub(super) struct NodeTpm {
    path: String,
    authorities: String,
    chain: Option<String>,
    pub is_software: bool,
}

impl NodeTpm {
    /// The TPM that was named, and no other; else a software TPM, if it is installed.
    pub(super) async fn open(args: &TpmArgs, folder: &Folder, roles: &mut Roles) -> Result<Option<Self>, Failure> {
        let text = |path: &PathBuf| path.display().to_string();
        if let (Some(path), Some(authorities)) = (&args.tpm, &args.tpm_ca) {
            let chain = args.tpm_chain.as_ref().map(text);
            return Ok(Some(Self { path: text(path), authorities: text(authorities), chain, is_software: false }));
        }
        if PROGRAMS.into_iter().any(|name| !is_installed(name)) {
            return Ok(None);
        }
        let home = folder.join("tpm");
        if !home.join("made").exists() {
            manufacture(&home).await?;
        }
        let socket = home.join("tpm.sock");
        let _stale = std::fs::remove_file(&socket);
        let arguments = strings(&[
            "socket",
            "--tpm2",
            "--tpmstate",
            &format!("dir={}", home.join("state").display()),
            "--server",
            &format!("type=unixio,path={}", socket.display()),
            "--flags",
            "not-need-init,startup-clear",
        ]);
        roles.start_program("swtpm", "swtpm".as_ref(), &arguments, &[], &folder.logs())?;
        listening(&socket).await?;
        let authority = |name: &str| home.join("ca").join(name).display().to_string();
        Ok(Some(Self {
            path: text(&socket),
            authorities: authority("swtpm-localca-rootca-cert.pem"),
            chain: Some(authority("issuer.pem")),
            is_software: true,
        }))
    }

    /// What makes a server trust it.
    pub(super) fn server_options(&self) -> Vec<String> {
        let flag = if self.is_software { "--danger-software-tpm-ca" } else { "--tpm-ca" };
        strings(&[flag, &self.authorities])
    }

    /// What makes an agent prove its node by it.
    pub(super) fn agent_options(&self) -> Vec<String> {
        let mut options = strings(&["--tpm", &self.path]);
        options.extend(self.chain.iter().flat_map(|chain| strings(&["--tpm-chain", chain])));
        options
    }

    /// For the line that names the node.
    pub(super) fn shown(&self) -> String {
        if self.is_software { "a software TPM (danger_software_tpm)".to_owned() } else { format!("TPM {}", self.path) }
    }
}

/// Why there is none.
pub(super) fn absent() -> String {
    format!(
        "no software TPM is installed (`apt-get install {PACKAGES}`): the node attests by a join token, so that \
         `hw_attested` is false and the sample policy denies each POST"
    )
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Makes a TPM's state, with an endorsement certificate by an authority that is made as well.
async fn manufacture(home: &Path) -> Result<(), Failure> {
    let _progress = Progress::of("making a software TPM");
    // What an earlier run left half made.
    let _absent = std::fs::remove_dir_all(home);
    for folder in ["", "state", "ca"] {
        private_folder(&home.join(folder)).map_err(Failure::failed)?;
    }
    let at = home.display();
    let write = |name: &str, text: String| std::fs::write(home.join(name), text).map_err(Failure::failed);
    write(
        "setup.conf",
        format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {at}/localca.conf\n\
             create_certs_tool_options = {at}/options\nactive_pcr_banks = sha256\n"
        ),
    )?;
    write(
        "localca.conf",
        format!(
            "statedir = {at}/ca\nsigningkey = {at}/ca/key.pem\nissuercert = {at}/ca/issuer.pem\n\
             certserial = {at}/ca/serial\n"
        ),
    )?;
    write(
        "options",
        "--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version 1\n--platform-manufacturer sekisho\n\
         --platform-version 1\n--platform-model dev\n"
            .to_owned(),
    )?;
    let mut setup = Command::new("swtpm_setup");
    setup.args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--vmid", "dev", "--tpmstate"]);
    setup.arg(home.join("state")).arg("--config").arg(home.join("setup.conf")).stdin(Stdio::null()).kill_on_drop(true);
    let failed = |why: String| Failure::failed(format!("`swtpm_setup` made no software TPM: {why}"));
    let made = tokio::time::timeout(PATIENCE, setup.output())
        .await
        .map_err(|_| failed("it did not finish in time".to_owned()))?;
    let made = made.map_err(|error| failed(error.to_string()))?;
    if !made.status.success() {
        let shown = [made.stdout, made.stderr].concat();
        let last = String::from_utf8_lossy(&shown).lines().last().unwrap_or_default().to_owned();
        return Err(failed(last));
    }
    write("made", String::new())
}

/// Returns once the program listens.
async fn listening(socket: &Path) -> Result<(), Failure> {
    let connects = async {
        // It serves one connection at a time, and the next one after this was closed.
        while UnixStream::connect(socket).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let late = |_| Failure::failed(format!("`swtpm` does not listen at {}", socket.display()));
    tokio::time::timeout(PATIENCE, connects).await.map_err(late)
}
