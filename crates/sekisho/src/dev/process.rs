//! Roles as child processes: started, read, and stopped in reverse order.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sekisho_runtime::{Ends, child_of_ours, duration_text};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::exit::Failure;
use crate::progress::Progress;

/// How long a step may take: far longer than it takes, for a machine that has other work and a slow disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Roles(Vec<(String, Child)>);

/// What a role prints on stdout, line by line.
pub(super) type Output = Lines<BufReader<ChildStdout>>;

impl Roles {
    /// Starts this executable as `role`, with its log in `logs`.
    pub(super) fn start(
        &mut self,
        name: &str,
        arguments: &[String],
        environment: &[(&str, String)],
        logs: &Path,
    ) -> Result<Output, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("`sekisho {name}` does not start: {e}"));
        let log = std::fs::File::create(logs.join(format!("{name}.log"))).map_err(failed)?;
        // It stops when this process does, also when this one is killed.
        let command = child_of_ours(std::env::current_exe().map_err(failed)?, Ends::Asked);
        let mut child = Command::from(command)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::failed("no stdout"))?;
        self.0.push((name.to_owned(), child));
        Ok(BufReader::new(stdout).lines())
    }

    /// Waits until any role ends, and names it.
    pub(super) async fn first_to_end(&mut self) -> String {
        loop {
            for (name, child) in &mut self.0 {
                if let Ok(Some(status)) = child.try_wait() {
                    return format!("`{name}` stopped by itself ({status})");
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Ends one role and forgets it.
    pub(super) async fn end_one(&mut self, name: &str) {
        if let Some(at) = self.0.iter().position(|(known, _)| known == name) {
            let (name, child) = self.0.remove(at);
            end(&name, child).await;
        }
    }

    /// Ends all roles, the last one started first.
    pub(super) async fn end(&mut self) {
        while let Some((name, child)) = self.0.pop() {
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
        Err(Failure::failed(format!("{what}: the process stopped first")))
    };
    let late = |_| Failure::failed(format!("{what}: nothing within {}", duration_text(PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, search).await.map_err(late)?
}
