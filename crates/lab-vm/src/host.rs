//! The server, as a process of this machine that virtual machines reach by QEMU's network, and its command line.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::run::{at, output, run};

pub const TRUST_DOMAIN: &str = "lab.example";
/// How the host's loopback is called in a virtual machine.
const HOST: &str = "10.0.2.2";

/// A running server.
pub struct Server {
    program: Child,
    sekisho: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a server that trusts TPMs of this authority, with its data in this folder.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(sekisho: &Path, folder: &Path, tpm_authority: &Path) -> Result<Self, String> {
        at(folder, std::fs::create_dir_all(folder))?;
        let log = at(folder, std::fs::File::create(folder.join("log")))?;
        let mut server = Command::new(sekisho);
        server.args(["server", "--trust-domain", TRUST_DOMAIN, "--listen", "127.0.0.1:0", "--data"]);
        server.arg(folder.join("data")).arg("--tpm-ca").arg(tpm_authority).stderr(log);
        let piped = server.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut program = piped.spawn().map_err(|error| format!("the server cannot be started: {error}"))?;
        let mut line = String::new();
        let printed = program.stdout.take().ok_or("the server has no output")?;
        let _incomplete = BufReader::new(printed).read_line(&mut line);
        let mut own = Self { program, sekisho: sekisho.to_owned(), folder: folder.to_owned(), port: 0 };
        // `ready <address> <socket>`
        let port = line.split(' ').nth(1).and_then(|address| address.rsplit(':').next()?.parse().ok());
        own.port = port.ok_or_else(|| format!("the server is not ready: {line}{}", own.log()))?;
        Ok(own)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Where agents in virtual machines reach it.
    pub fn address(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    fn sekisho(&self, arguments: &[&str]) -> Command {
        let mut sekisho = Command::new(&self.sekisho);
        sekisho.args(arguments).env("SEKISHO_SERVER_SOCKET", self.folder.join("data/api.sock"));
        sekisho
    }

    /// What a verb prints.
    ///
    /// # Errors
    /// The verb fails.
    pub fn text(&self, arguments: &[&str]) -> Result<String, String> {
        run(&mut self.sekisho(arguments))
    }

    /// What a verb prints as JSON.
    ///
    /// # Errors
    /// The verb fails.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let printed = self.text(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&printed).map_err(|error| format!("{arguments:?}: {error}: {printed}"))
    }

    /// Whether a verb's answer is yes; its exit code 2 means no. With the reason.
    ///
    /// # Errors
    /// The verb fails in another way.
    pub fn asks(&self, arguments: &[&str]) -> Result<(bool, String), String> {
        let done = output(&mut self.sekisho(arguments))?;
        let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).concat();
        match done.status.code() {
            Some(0) => Ok((true, text)),
            Some(2) => Ok((false, text)),
            _ => Err(format!("{arguments:?}: {}: {text}", done.status)),
        }
    }

    /// Nodes that attested.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn nodes(&self) -> Result<Vec<Node>, String> {
        let listed = self.json(&["agent", "list"])?;
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let node = |agent: &Value| {
            let text = |member: &str| agent[member].as_str().unwrap_or_default().to_owned();
            let (id, attestor) = (text("id"), text("attestation_type"));
            Node { id, attestor, selectors: texts(&agent["selectors"]) }
        };
        Ok(listed.as_array().into_iter().flatten().map(node).collect())
    }

    /// Registers an identity and returns nothing: a second one of the same kind is refused.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn register(&self, path: &str, parent: &str, selectors: &[String]) -> Result<(), String> {
        let id = format!("spiffe://{TRUST_DOMAIN}{path}");
        let mut arguments = vec!["entry", "create", "--spiffe-id", &id, "--parent-id", parent];
        selectors.iter().for_each(|selector| arguments.extend(["--selector", selector.as_str()]));
        self.text(&arguments).map(drop)
    }
}

/// A node, as the server knows it.
#[derive(Clone)]
pub struct Node {
    pub id: String,
    pub attestor: String,
    pub selectors: Vec<String>,
}

impl Node {
    pub fn has(&self, selector: &str) -> bool {
        self.selectors.iter().any(|own| own == selector)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _dead = self.program.kill();
        let _reaped = self.program.wait();
    }
}
