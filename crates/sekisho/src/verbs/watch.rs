use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use sekisho_runtime::{Stop, seconds_in, stop_on_signal};
use sekisho_types::SpiffeId;
use tokio::sync::watch;

use crate::exit::{Exit, Failure};
use crate::global::{AgentSocket, Global};
use crate::output::line;
use crate::svid_files::folder::{Folder, Ownership, Published};
use crate::svid_files::follow::Followed;
use crate::svid_files::material::Material;
use crate::svid_files::on_change::Action;
use crate::svid_files::signals::Named;
use crate::svid_files::writer::Writer;

/// What a service manager that starts this has to hear, and over which socket (sd_notify(3)).
const NOTIFY: &str = "NOTIFY_SOCKET";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sekisho svid watch --write /run/nginx-svid --signal HUP --pid-file /run/nginx.pid\n\n\
    Files: svid.pem (certificates), svid_key.pem (0600), bundle.pem (authorities), svid_with_key.pem (0600).\n\
    The agent attests the process that calls it, which is `sekisho`: register the unit or the user that runs this."
)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    asks: AgentSocket,
    /// Folder for the files; on a tmpfs such as /run, the key is never on disk
    #[arg(long, env = "SEKISHO_SVID_WRITE", value_name = "FOLDER")]
    write: PathBuf,
    /// Shell command to run after the files changed; it is repeated until it succeeds
    #[arg(long, env = "SEKISHO_SVID_ON_CHANGE", value_name = "COMMAND")]
    on_change: Option<String>,
    /// Send this signal after the files changed
    #[arg(long, env = "SEKISHO_SVID_SIGNAL", value_enum, requires = "pid_file", conflicts_with = "on_change")]
    signal: Option<Named>,
    /// File with the process ID of the program that gets the signal; a regular file of root, of the user who runs
    /// this, or of the program's own user
    #[arg(long, env = "SEKISHO_SVID_PID_FILE", requires = "signal")]
    pid_file: Option<PathBuf>,
    /// The identity to use, if the entries give several; default: the first
    #[arg(long, env = "SEKISHO_SVID_SPIFFE_ID", value_parser = spiffe_id)]
    spiffe_id: Option<SpiffeId>,
    /// User that owns the files, by name or number; needs root
    #[arg(long, env = "SEKISHO_SVID_OWNER", value_name = "USER")]
    owner: Option<String>,
    /// Group that may read the key (0640), by name or number
    #[arg(long, env = "SEKISHO_SVID_GROUP", value_name = "GROUP")]
    group: Option<String>,
    /// Write the files once, and exit
    #[arg(long, env = "SEKISHO_SVID_ONCE", conflicts_with_all = ["on_change", "signal"])]
    once: bool,
    /// With `--once`: how long to wait for an SVID
    #[arg(long, env = "SEKISHO_SVID_TIMEOUT", default_value = "30s", value_parser = seconds_in(1..))]
    timeout: u32,
}

pub(crate) fn spiffe_id(text: &str) -> Result<SpiffeId, String> {
    SpiffeId::parse(text).map_err(|error| error.to_string())
}

/// Keeps the files fresh until it is asked to stop; prints `ready <folder> <SPIFFE ID>` on stdout once they are there.
pub(crate) async fn run(args: WatchArgs) -> Result<Exit, Failure> {
    let agent = Global { agent_socket: args.asks.agent_socket, ..Global::default() };
    let patience = Duration::from_secs(args.timeout.into());
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let owner = args.owner.as_deref().map(|name| number_of("passwd", name)).transpose()?;
    let group = args.group.as_deref().map(|name| number_of("group", name)).transpose()?;
    let folder = Folder::open(&args.write, Ownership { user: owner, group })
        .map_err(|error| Failure::failed(format!("{}: {error}", args.write.display())))?;
    if !folder.is_in_memory() {
        eprintln!(
            "sekisho: {} is on a disk, and so is the key; prefer a tmpfs, for example below /run",
            folder.path.display()
        );
    }
    let action = match (args.on_change, args.signal, args.pid_file) {
        (Some(command), ..) => Action::Command(command),
        (None, Some(signal), Some(pid_file)) => Action::Signal { signal: signal.signal(), pid_file },
        _ => Action::Nothing,
    };
    let mut followed = Followed::start(&agent.agent_socket(), args.spiffe_id);
    let first = tokio::select! {
        biased;
        () = stop.wait() => return Ok(Exit::Ok),
        first = followed.first(args.once.then_some(patience)) => first?,
    };
    let failed = |error| Failure::failed(format!("{}: {error}", args.write.display()));
    let (mut writer, mut published) = Writer::start(folder, followed, first).map_err(failed)?;
    report(&writer, published);
    line(&format!("ready {} {}", writer.folder.path.display(), writer.held.spiffe_id))?;
    notify_ready();
    if args.once {
        return Ok(Exit::Ok);
    }
    let (complete, changes) = watch::channel(0_u64);
    let mut acting = tokio::spawn(action.keep(writer.folder.path.clone(), changes));
    loop {
        // Files that are the first ones have no reader yet.
        if published == Published::Changed {
            complete.send_modify(|number| *number += 1);
        }
        let next = tokio::select! {
            biased;
            () = stop.wait() => break,
            // It runs as long as there may be changes: this is a defect, and a service manager starts us again.
            result = &mut acting => {
                return Err(Failure::failed(format!("the task that acts on changes stopped: {result:?}")));
            }
            next = writer.next() => next,
        };
        let Some(next) = next else { break };
        published = next;
        report(&writer, published);
    }
    acting.abort();
    // With it ends a command that runs.
    let _aborted = acting.await;
    Ok(Exit::Ok)
}

fn report(writer: &Writer, published: Published) {
    if published != Published::Same {
        let Material { spiffe_id, serial, not_after, .. } = writer.held.as_ref();
        eprintln!("sekisho: {} has {spiffe_id}, serial {serial}, until {not_after}", writer.folder.path.display());
    }
}

/// A user's or a group's number, by the system's databases.
fn number_of(database: &str, name: &str) -> Result<u32, Failure> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = Command::new("getent").args([database, "--", name]).output().map_err(Failure::failed)?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let number = text.split(':').nth(2).and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| Failure::failed(format!("`{name}` is not in the system's {database} database")))
}

fn notify_ready() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os(NOTIFY) else { return };
    let text = path.to_string_lossy();
    let address = match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
    if let Err(error) = sent {
        eprintln!("sekisho: {NOTIFY} is not reached: {error}");
    }
}
