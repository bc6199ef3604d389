//! What is done once new files are complete: a command, or a signal to a process that a file names.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use sekisho_host::{Process, own_uid, proc_text};
use sekisho_runtime::blocking;
use tokio::sync::watch;

use super::folder::{BUNDLE, KEY, SVID};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A command that runs longer than this has failed.
const LONGEST_RUN: Duration = Duration::from_secs(60);
/// How often the file of a process is read again.
const LOOK: Duration = Duration::from_secs(1);
/// More of the file of a process is not read.
const FILE_BYTES: u64 = 4096;
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
                    if !self.names_another(signalled, since).await {
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
                let process = look(pid_file).await?;
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
    async fn names_another(&self, signalled: Signalled, since: f64) -> bool {
        let Self::Signal { pid_file, .. } = self else { return false };
        let found = look(pid_file).await.ok().map(|process| (process.pid(), process.start_time()));
        found.is_some_and(|(pid, start)| signalled != Some((pid, start)) && start as f64 <= since * TICKS + 1.0)
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that it names has exited")
}

/// The file may be on a disk that does not answer.
async fn look(pid_file: &Path) -> io::Result<Process> {
    let pid_file = pid_file.to_owned();
    blocking(move || process_of(&pid_file)).await.map_err(io::Error::other)?
}

/// The process that a file names, unless it started after the file was written: then the number was given out again.
fn process_of(pid_file: &Path) -> io::Result<Process> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(pid_file, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => io::Error::other("it is a symbolic link: name the file itself"),
        error => error.into(),
    })?;
    let file = File::from(opened);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = vec![];
    file.take(FILE_BYTES).read_to_end(&mut text)?;
    let number = number_in(&text).ok_or_else(|| io::Error::other("it names no process"))?;
    let process = Process::open(number).map_err(|_| gone())?;
    let started = booted() + process.start_time() as f64 / TICKS;
    let written = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    if started > written.as_secs_f64() + 2.0 {
        return Err(io::Error::other("it is older than the process that has this number now"));
    }
    let status = std::fs::read_to_string(format!("/proc/{number}/status"))?;
    process.check_alive().map_err(|_| gone())?;
    may_name(&proc_text::all_users(&status), found.uid(), found.mode(), own_uid())?;
    Ok(process)
}

/// A process that has this number and runs. PostgreSQL's file has more lines.
fn number_in(text: &[u8]) -> Option<i32> {
    let line = text.split(|&byte| byte == b'\n').next()?.trim_ascii();
    let is_number = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(line).ok().filter(|_| is_number)?.parse().ok().filter(|&number| number > 0)
}

/// Whether a file of this owner and mode may name a process of these users: otherwise its owner could signal a process
/// of another user with our rights.
fn may_name(users: &[u32], owner: u32, mode: u32, ours: u32) -> io::Result<()> {
    if mode & 0o002 != 0 {
        return Err(io::Error::other("every user can write it: close it (`chmod o-w`)"));
    }
    let is_theirs = !users.is_empty() && users.iter().all(|&user| user == owner);
    if owner == 0 || owner == ours || is_theirs {
        return Ok(());
    }
    Err(io::Error::other(format!("it belongs to user {owner} and names a process of another user")))
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
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
    shell.env("SVID_FOLDER", folder).env("SVID_FILE", folder.join(SVID));
    shell.env("SVID_KEY_FILE", folder.join(KEY)).env("SVID_BUNDLE_FILE", folder.join(BUNDLE));
    // Our standard output has `ready` alone.
    shell.stdout(Stdio::from(rustix::io::dup(std::io::stderr())?));
    let mut child = shell.spawn()?;
    // Dropped before the child, which holds the number of the group until it is waited for.
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let ended = tokio::time::timeout(LONGEST_RUN, child.wait()).await;
    let status =
        ended.map_err(|_| io::Error::other(format!("it did not end within {} s", LONGEST_RUN.as_secs())))??;
    // What a command leaves in the background, a service for example, is to stay.
    group.0 = None;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// A command and all that it started, which end with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        let _gone = self.0.map(|group| kill_process_group(group, Signal::KILL));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::process::Command;

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

    #[tokio::test]
    async fn only_a_short_regular_file_is_read() {
        let own = tempfile::tempdir().unwrap();
        let file = own.path().join("pid");
        let refused = |name: &str| process_of(&own.path().join(name)).err().unwrap().to_string();
        std::fs::write(&file, format!("{}\n{}", std::process::id(), "x".repeat(1 << 20))).unwrap();
        assert!(process_of(&file).is_ok());
        std::os::unix::fs::symlink("/dev/zero", own.path().join("link")).unwrap();
        assert!(refused("link").contains("symbolic link"));
        let made = Command::new("mkfifo").arg(own.path().join("fifo")).status().await.unwrap();
        assert!(made.success());
        assert!(refused("fifo").contains("not a regular file"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(refused("pid").contains("every user"));
        for text in ["", "+1", "-1", "0", "1 2", "99999999999", "0x1"] {
            assert_eq!(number_in(text.as_bytes()), None, "{text}");
        }
        assert_eq!(number_in(b" 17 \nmore"), Some(17));
    }

    #[test]
    fn a_file_names_only_its_owners_processes() {
        let (root, mine, theirs) = (0, 7, 8);
        let may = |users: [u32; 4], owner, ours| may_name(&users, owner, 0o100_644, ours).is_ok();
        assert!(may([root; 4], root, root) && may([theirs; 4], theirs, root) && may([root; 4], mine, mine));
        assert!(!may([root; 4], theirs, root) && !may([mine; 4], theirs, root));
        // A program that changes its user.
        assert!(!may([theirs, root, root, root], theirs, root) && !may([root, theirs, root, theirs], theirs, root));
        assert!(may_name(&[], theirs, 0o100_644, root).is_err());
    }

    #[tokio::test]
    async fn all_of_a_command_ends_when_stopped() {
        let own = tempfile::tempdir().unwrap();
        let seen = own.path().join("pids");
        let command = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; sleep 600 | sleep 600", seen.display());
        let folder = own.path().to_owned();
        let running = tokio::spawn(async move { run(&command, &folder).await });
        let pid = within(|| std::fs::read_to_string(&seen).ok()).await.trim().to_owned();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        let has_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        };
        within(has_stopped).await;
    }

    #[tokio::test]
    async fn a_command_has_a_time_limit() {
        let own = tempfile::tempdir().unwrap();
        let seen = own.path().join("pid");
        let command = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", seen.display());
        let folder = own.path().to_owned();
        let running = tokio::spawn(async move { run(&command, &folder).await });
        let pid = within(|| std::fs::read_to_string(&seen).ok()).await.trim().to_owned();
        tokio::time::pause();
        tokio::time::advance(LONGEST_RUN + Duration::from_secs(1)).await;
        let error = running.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("did not end within 60 s"), "{error}");
        tokio::time::resume();
        let has_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        };
        within(has_stopped).await;
    }

    async fn within<T>(look: impl Fn() -> Option<T>) -> T {
        let found = async {
            loop {
                match look() {
                    Some(found) => return found,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.unwrap()
    }
}
