//! Roles as child processes: started, read, and stopped in reverse order.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sekisho_runtime::{OnParentExit, duration_text, supervised_command};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::exit::Failure;
use crate::progress::Progress;

/// How long a step may take: far longer than it takes, for a machine that has other work and a slow disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Variables of roles that name a place or an identity. Those of the shell that starts `dev` are of other roles.
const PLACES: [&str; 25] = [
    "SEKISHO_AGENT_CONFIG",
    "SEKISHO_AGENT_SOCKET",
    "SEKISHO_DANGER_SOFTWARE_TPM_CA",
    "SEKISHO_INBOUND",
    "SEKISHO_METRICS",
    "SEKISHO_NODE_CERT",
    "SEKISHO_NODE_KEY",
    "SEKISHO_OUTBOUND",
    "SEKISHO_PROTOCOL",
    "SEKISHO_PROXY_CONFIG",
    "SEKISHO_PUBLISH_LOG",
    "SEKISHO_SERVER_CONFIG",
    "SEKISHO_SERVER_NAMES",
    "SEKISHO_SERVER_SOCKET",
    "SEKISHO_SPIFFE_ID",
    "SEKISHO_TPM",
    "SEKISHO_TPM_CA",
    "SEKISHO_TPM_CHAIN",
    "SEKISHO_TPM_LOGS",
    "SEKISHO_TRUST_BUNDLE",
    "SEKISHO_UPSTREAM",
    "SEKISHO_WITNESSES",
    "SEKISHO_WITNESS_CA",
    "SEKISHO_WORKLOAD_PID",
    "SPIFFE_ENDPOINT_SOCKET",
];
/// Of a log, where its last line is looked for.
const TAIL: i64 = 4096;

pub(super) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[derive(Default)]
pub(super) struct Roles(Vec<Role>);

struct Role {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a role prints on stdout, line by line.
pub(super) struct Output {
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Output {
    async fn next_line(&mut self) -> std::io::Result<Option<String>> {
        self.lines.next_line().await
    }

    /// Reads what is still printed: a program whose output no one reads stops at its next line.
    pub(super) fn read_on(mut self) {
        tokio::spawn(async move { while let Ok(Some(_)) = self.next_line().await {} });
    }
}

impl Roles {
    /// Starts this executable as a role, with its log in `logs`.
    pub(super) fn start(
        &mut self,
        name: &str,
        arguments: &[String],
        environment: &[(&str, String)],
        logs: &Path,
    ) -> Result<Output, Failure> {
        let own = std::env::current_exe().map_err(|e| Failure::failed(format!("`{name}` does not start: {e}")))?;
        self.start_program(name, &own, arguments, environment, logs)
    }

    /// The same with another program.
    pub(super) fn start_program(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
        logs: &Path,
    ) -> Result<Output, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("`{name}` does not start: {e}"));
        let log = logs.join(format!("{name}.log"));
        let stderr = std::fs::File::create(&log).map_err(failed)?;
        // It stops when this process does, also when this one is killed.
        let command = supervised_command(program, OnParentExit::Asked);
        let mut command = Command::from(command);
        PLACES.iter().for_each(|name| {
            command.env_remove(name);
        });
        let mut child = command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::failed("no stdout"))?;
        self.0.push(Role { name: name.to_owned(), child, log: log.clone() });
        Ok(Output { lines: BufReader::new(stdout).lines(), log })
    }

    /// Waits until any role ends, and names it.
    pub(super) async fn first_to_end(&mut self) -> String {
        loop {
            for Role { name, child, log } in &mut self.0 {
                if let Ok(Some(status)) = child.try_wait() {
                    return format!("`{name}` stopped by itself ({status}){}", last_line(log));
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Ends one role and forgets it.
    pub(super) async fn end_one(&mut self, name: &str) {
        if let Some(at) = self.0.iter().position(|role| role.name == name) {
            let Role { name, child, .. } = self.0.remove(at);
            end(&name, child).await;
        }
    }

    /// Ends all roles, the last one started first.
    pub(super) async fn end(&mut self) {
        while let Some(Role { name, child, .. }) = self.0.pop() {
            end(&name, child).await;
        }
    }
}

async fn end(name: &str, mut child: Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let asked = pid.and_then(sekisho_host::signal_terminate);
    let waited = tokio::time::timeout(Duration::from_secs(15), child.wait()).await;
    if waited.is_err() {
        tracing::warn!(name, ?asked, "did not stop when asked");
        // Nothing more can be done about a process that does not die.
        let _killed = child.kill().await;
    }
}

/// The first line that `wanted` makes something of.
pub(super) async fn wait_for<T>(
    output: &mut Output,
    what: &str,
    wanted: impl Fn(&str) -> Option<T>,
) -> Result<T, Failure> {
    let _progress = Progress::of(&format!("waiting for {what}"));
    let search = async {
        while let Ok(Some(line)) = output.next_line().await {
            if let Some(found) = wanted(&line) {
                return Ok(found);
            }
        }
        Err(Failure::failed(format!("{what}: the process stopped first{}", last_line(&output.log))))
    };
    let late = |_| Failure::failed(format!("{what}: nothing within {}", duration_text(PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, search).await.map_err(late)?
}

/// The last line of a log, as the end of a sentence; empty if the log is.
fn last_line(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
        file.seek(SeekFrom::End(-length.min(TAIL)))?;
        let mut tail = vec![];
        file.read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    let tail = String::from_utf8_lossy(&tail);
    let line = tail.lines().rev().find(|line| !line.trim().is_empty());
    line.map(|line| format!("; the last line of its log: {line}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_last_line_of_a_log_is_shown() {
        let log = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(last_line(log.path()), "");
        let text = format!("{}\nERROR why\n\n", "x".repeat(9000));
        std::fs::write(log.path(), text).unwrap();
        assert_eq!(last_line(log.path()), "; the last line of its log: ERROR why");
    }

    #[test]
    fn each_variable_of_a_place_exists() {
        let cli = crate::cli::Cli::command();
        let of_roles = cli.get_subcommands().filter(|verb| ["server", "agent", "proxy"].contains(&verb.get_name()));
        let known: Vec<String> = of_roles
            .flat_map(clap::Command::get_arguments)
            .filter_map(|flag| flag.get_env()?.to_str())
            .map(str::to_owned)
            .collect();
        for name in PLACES.iter().filter(|name| name.starts_with("SEKISHO_")) {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
    }
}
