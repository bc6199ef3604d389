//! What is done once new files are complete: a command, or a signal to a process that a file names.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sekisho_host::Process;
use tokio::sync::watch;

use super::folder::{BUNDLE, KEY, SVID};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A command that runs longer than this has failed.
const LONGEST_RUN: Duration = Duration::from_secs(60);
/// How often the file of a process is read again.
const LOOK: Duration = Duration::from_secs(1);
/// Of a second: what `/proc` counts time by, on every architecture.
const TICKS: f64 = 100.0;

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Nothing,
    Command(String),
    Signal { signal: Signal, pid_file: PathBuf },
}

/// A process that has had the signal, by number and start time.
type Signalled = Option<(i32, u64)>;

impl Action {
    /// Acts on each change of `complete`, which counts sets of files, until it is closed. A failure is tried again,
    /// with longer and longer pauses; the newest set is what counts.
    pub(crate) async fn keep(self, folder: PathBuf, mut complete: watch::Receiver<u64>) {
        let (mut signalled, mut since): (Signalled, f64) = (None, 0.0);
        loop {
            tokio::select! {
                biased;
                changed = complete.changed() => match changed {
                    Ok(()) => (since, signalled) = (uptime(), None),
                    Err(_) => return,
                },
                // A process that started while the files changed may have read the old ones before its file named it.
                () = tokio::time::sleep(LOOK), if signalled.is_some() => {
                    if !self.names_another(signalled, since) {
                        continue;
                    }
                }
            }
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.act(&folder, &mut signalled).await {
                eprintln!("sekisho: {}: {error}; again in {} s", self.name(), pause.as_secs());
                tokio::select! {
                    biased;
                    changed = complete.changed() => match changed {
                        Ok(()) => (pause, since, signalled) = (FIRST_PAUSE, uptime(), None),
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            }
            if pause > FIRST_PAUSE {
                eprintln!("sekisho: {} succeeded", self.name());
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Command(command) => format!("`{command}`"),
            Self::Signal { pid_file, .. } => format!("the signal to the process of {}", pid_file.display()),
        }
    }

    async fn act(&self, folder: &Path, signalled: &mut Signalled) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Command(command) => run(command, folder).await,
            Self::Signal { signal, pid_file } => {
                let process = process_of(pid_file)?;
                let pid = Pid::from_raw(process.pid()).ok_or_else(gone)?;
                let held = pidfd_open(pid, PidfdFlags::empty())?;
                // The number is still that process's: it was looked at after the pidfd was opened.
                process.check_alive().map_err(|_| gone())?;
                pidfd_send_signal(held, *signal)?;
                *signalled = Some((process.pid(), process.start_time()));
                Ok(())
            }
        }
    }

    /// Whether the file names a process that has not had the signal and that was there before the files were complete.
    fn names_another(&self, signalled: Signalled, since: f64) -> bool {
        let Self::Signal { pid_file, .. } = self else { return false };
        let found = process_of(pid_file).ok().map(|process| (process.pid(), process.start_time()));
        found.is_some_and(|(pid, start)| signalled != Some((pid, start)) && start as f64 <= since * TICKS + 1.0)
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that it names has exited")
}

/// The process that a file names, unless it started after the file was written: then the number was given out again.
fn process_of(pid_file: &Path) -> io::Result<Process> {
    let text = std::fs::read_to_string(pid_file)?;
    let written = std::fs::metadata(pid_file)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    // PostgreSQL's file has more lines.
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    let process = Process::open(pid.ok_or_else(|| io::Error::other("it names no process"))?).map_err(|_| gone())?;
    let started = booted() + process.start_time() as f64 / TICKS;
    if started > written.as_secs_f64() + 2.0 {
        return Err(io::Error::other("it is older than the process that has this number now"));
    }
    Ok(process)
}

/// Seconds since the machine started.
fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}

fn booted() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "compared with the time that a file system has for a file")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs_f64() - uptime()
}

async fn run(command: &str, folder: &Path) -> io::Result<()> {
    let mut child = tokio::process::Command::new("/bin/sh");
    child.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true);
    child.env("SVID_FOLDER", folder).env("SVID_FILE", folder.join(SVID));
    child.env("SVID_KEY_FILE", folder.join(KEY)).env("SVID_BUNDLE_FILE", folder.join(BUNDLE));
    // Our standard output has `ready` alone.
    child.stdout(Stdio::from(rustix::io::dup(std::io::stderr())?));
    let ended = tokio::time::timeout(LONGEST_RUN, child.status()).await;
    let status =
        ended.map_err(|_| io::Error::other(format!("it did not end within {} s", LONGEST_RUN.as_secs())))??;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_failing_command_is_repeated_until_it_succeeds() {
        let own = tempfile::tempdir().unwrap();
        let count = own.path().join("count");
        let command = format!("echo x >> {0}; [ $(wc -l < {0}) -ge 2 ]", count.display());
        let (complete, changes) = watch::channel(0);
        let kept = tokio::spawn(Action::Command(command).keep(own.path().to_owned(), changes));
        complete.send_modify(|number| *number += 1);
        let lines = || std::fs::read_to_string(&count).unwrap_or_default().lines().count();
        tokio::time::timeout(Duration::from_secs(20), async {
            while lines() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        drop(complete);
        kept.await.unwrap();
        assert_eq!(lines(), 2);
    }

    #[tokio::test]
    async fn an_older_file_names_another_process() {
        let own = tempfile::tempdir().unwrap();
        let file = own.path().join("pid");
        let mut child = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        std::fs::write(&file, format!("{}\nmore\n", child.id().unwrap())).unwrap();
        assert!(process_of(&file).is_ok());
        // PostgreSQL writes its number so while it has no clients (`initdb`).
        std::fs::write(&file, format!("-{}\n", child.id().unwrap())).unwrap();
        assert!(process_of(&file).is_err());
        std::fs::write(&file, child.id().unwrap().to_string()).unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        assert!(process_of(&file).err().unwrap().to_string().contains("older"));
        child.kill().await.unwrap();
        assert!(process_of(&file).is_err());
    }
}
