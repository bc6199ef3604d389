use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use sekisho_disk::private_folder;
use sekisho_runtime::{OnParentExit, random_hex, seconds_in, supervised_command};
use sekisho_types::SpiffeId;
use tokio::process::{Child, Command};

use super::policy::files;
use super::watch::spiffe_id;
use crate::exit::{Exit, Failure};
use crate::global::{AgentSocket, Global};
use crate::network::held::{Held, Plan};
use crate::svid_files::folder::{BUNDLE, Folder, KEY, Ownership, Published, SVID, WITH_KEY};
use crate::svid_files::follow::Followed;
use crate::svid_files::signals::{Named, Received, received};
use crate::svid_files::writer::Writer;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sekisho exec --env PGSSLCERT=svid --env PGSSLKEY=key -- psql -h db\n\n\
    The program finds SVID_FILE, SVID_KEY_FILE, SVID_BUNDLE_FILE, SVID_FOLDER, SVID_SPIFFE_ID and\n\
    SPIFFE_ENDPOINT_SOCKET in its environment. The agent attests the process that calls it, which is\n\
    `sekisho`: the files belong to the user who runs this.")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    asks: AgentSocket,
    /// Signal for the program after the files changed, for programs that read them again
    #[arg(long, value_enum)]
    signal: Option<Named>,
    /// Another variable for the path of a file, for example PGSSLKEY=key
    #[arg(long, value_name = "NAME=FILE", value_parser = variable)]
    env: Vec<(String, File)>,
    /// Folder for the files; default: a folder in memory that is removed when the program stops
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// The identity to use, if the entries give several; default: the first
    #[arg(long, value_parser = spiffe_id)]
    spiffe_id: Option<SpiffeId>,
    /// Folder with the `.rego` files that decide whom the program may call, and who may call it. It starts in a cgroup
    /// of its own, and the kernel refuses connections that no request may use
    #[arg(long, value_name = "FOLDER", requires = "endpoints")]
    network_policy: Option<PathBuf>,
    /// File with the addresses of identities, for `--network-policy` (YAML)
    #[arg(long, value_name = "FILE", requires = "network_policy")]
    endpoints: Option<PathBuf>,
    /// How long to wait for the first SVID
    #[arg(long, default_value = "30s", value_parser = seconds_in(1..))]
    timeout: u32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum File {
    Svid,
    Key,
    Bundle,
    SvidWithKey,
}

impl File {
    const fn name(self) -> &'static str {
        match self {
            Self::Svid => SVID,
            Self::Key => KEY,
            Self::Bundle => BUNDLE,
            Self::SvidWithKey => WITH_KEY,
        }
    }
}

fn variable(text: &str) -> Result<(String, File), String> {
    let (name, file) = text.split_once('=').ok_or("it is not NAME=FILE")?;
    let file = File::from_str(file, false).map_err(|_| "the file is one of svid, key, bundle, svid-with-key")?;
    if name.is_empty() { Err("it names no variable".to_owned()) } else { Ok((name.to_owned(), file)) }
}

/// Runs a program with its identity in files, which stay fresh while it runs. Ends as the program did.
pub(crate) async fn run(args: ExecArgs) -> Result<Exit, Failure> {
    let plan = match (&args.network_policy, &args.endpoints) {
        (Some(policy), Some(endpoints)) => Some(Plan::of(files::load(policy, false)?, endpoints)?),
        _ => None,
    };
    let socket = Global { agent_socket: args.asks.agent_socket.clone(), ..Global::default() }.agent_socket();
    let patience = Duration::from_secs(args.timeout.into());
    // A signal that comes before the program runs must not leave its folder.
    let mut signals = received().map_err(Failure::failed)?;
    let mut followed = Followed::start(&socket, args.spiffe_id.clone());
    let first = tokio::select! {
        biased;
        Some(Received { signal, .. }) = signals.recv() => return Ok(stopped_by(signal)),
        first = followed.first(Some(patience)) => first?,
    };
    let place = SvidFolder::of(args.write.as_deref());
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", place.path.display()));
    if place.own {
        private_folder(&place.path).map_err(Failure::failed)?;
    }
    let folder = Folder::open(&place.path, Ownership::default()).map_err(failed)?;
    let (mut writer, _first) = Writer::start(folder, followed, first).map_err(failed)?;
    if let Ok(Received { signal, .. }) = signals.try_recv() {
        return Ok(stopped_by(signal));
    }
    let spiffe_id = &writer.held.spiffe_id;
    let mut rules = plan.map(|plan| Held::start(&plan, spiffe_id)).transpose()?;
    rules.iter().for_each(|rules| eprintln!("sekisho: {}", rules.summary()));
    let mut child = start(&args, &writer.folder, &socket, spiffe_id, rules.as_ref())?;
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = child.wait() => {
                let ended = ended.map_err(Failure::failed)?;
                report(rules.as_mut());
                let code = ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(1);
                return Ok(Exit::OfWorkload(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Some(Received { signal, is_of_terminal }) = signals.recv() => {
                if !is_of_terminal {
                    send(&child, signal);
                }
            }
            _ = turns.tick(), if rules.is_some() => report(rules.as_mut()),
            Some(published) = writer.next() => {
                let signal = args.signal.filter(|_| published == Published::Changed);
                signal.iter().for_each(|signal| send(&child, signal.signal()));
            }
        }
    }
}

/// How often refusals of the kernel are looked for.
const TURN: Duration = Duration::from_millis(100);

fn report(rules: Option<&mut Held>) {
    let refused = rules.map(Held::look).unwrap_or_default();
    refused.iter().for_each(|line| eprintln!("sekisho: {line}"));
}

/// As a shell reports a program that a signal stopped.
fn stopped_by(signal: Signal) -> Exit {
    Exit::OfWorkload(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX))
}

fn start(
    args: &ExecArgs,
    folder: &Folder,
    socket: &Path,
    spiffe_id: &SpiffeId,
    rules: Option<&Held>,
) -> Result<Child, Failure> {
    let (program, arguments) = args.command.split_first().ok_or_else(|| Failure::new(Exit::Usage, "no program"))?;
    // It ends with us, however we end, and has its three standard streams.
    let supervised = || supervised_command(program, OnParentExit::Asked);
    let mut command = Command::from(rules.map_or_else(supervised, |rules| rules.command(program)));
    command.args(arguments).kill_on_drop(true).env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()));
    let standard = [("SVID_FILE", File::Svid), ("SVID_KEY_FILE", File::Key), ("SVID_BUNDLE_FILE", File::Bundle)];
    let given = args.env.iter().map(|(name, file)| (name.as_str(), *file));
    command.envs(standard.into_iter().chain(given).map(|(name, file)| (name, folder.path.join(file.name()))));
    command.env("SVID_FOLDER", &folder.path).env("SVID_SPIFFE_ID", spiffe_id.to_string());
    command.spawn().map_err(|error| Failure::failed(format!("`{program}` cannot be started: {error}")))
}

fn send(child: &Child, signal: Signal) {
    // Without a number it has exited, and is waited for.
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let _gone = pid.map(|pid| kill_process(pid, signal));
}

/// Where the files are; a place of our own goes with us.
struct SvidFolder {
    path: PathBuf,
    own: bool,
}

impl SvidFolder {
    fn of(given: Option<&Path>) -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        // Some systems have a link here.
        let base = std::fs::canonicalize(&base).unwrap_or(base);
        let path = given.map_or_else(|| base.join(format!("sekisho-exec-{}", random_hex(16))), Path::to_owned);
        Self { path, own: given.is_none() }
    }
}

impl Drop for SvidFolder {
    fn drop(&mut self) {
        if self.own
            && let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("sekisho: {} is not removed: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_one_of_the_files() {
        assert_eq!(variable("PGSSLKEY=key"), Ok(("PGSSLKEY".to_owned(), File::Key)));
        assert!(["PGSSLKEY", "=key", "A=/etc/passwd"].into_iter().all(|text| variable(text).is_err()));
    }
}
