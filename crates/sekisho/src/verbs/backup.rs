//! `backup` and `restore`: a server's state, keys and log.

use std::path::PathBuf;

use clap::Args;
use sekisho_runtime::parse_trust_domain;
use sekisho_server::{Copied, Restored, RestoredLog};
use sekisho_types::TrustDomain;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::print;
use crate::progress::Progress;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The server's trust domain
    #[arg(long, env = "SEKISHO_TRUST_DOMAIN", value_parser = parse_trust_domain)]
    trust_domain: TrustDomain,
    /// The server's data folder; the server may run
    #[arg(long, env = "SEKISHO_SERVER_DATA", default_value = "/var/lib/sekisho/server")]
    data: PathBuf,
    /// A new folder for the copy. It contains private keys: protect it as you protect those
    #[arg(long, env = "SEKISHO_BACKUP_TO")]
    to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The server's trust domain
    #[arg(long, env = "SEKISHO_TRUST_DOMAIN", value_parser = parse_trust_domain)]
    trust_domain: TrustDomain,
    /// Folder with the copy
    #[arg(long, env = "SEKISHO_RESTORE_FROM")]
    from: PathBuf,
    /// The server's data folder; the server must not run. The earlier content is kept beside it
    #[arg(long, env = "SEKISHO_SERVER_DATA", default_value = "/var/lib/sekisho/server")]
    data: PathBuf,
    /// Restore the copy's log although the log here is longer, unreadable or another one; the restored log
    /// continues under a new origin
    #[arg(long, env = "SEKISHO_DANGER_ACCEPT_OLDER_LOG")]
    danger_accept_older_log: bool,
}

pub(crate) fn backup(global: &Global, args: &BackupArgs) -> Result<Exit, Failure> {
    let progress = Progress::of("copying and checking");
    let copied = sekisho_server::backup(&args.data, &args.to, &args.trust_domain);
    drop(progress);
    let Copied { log_size: size, damaged } = copied.map_err(Failure::failed)?;
    let to = args.to.display().to_string();
    print(global.output, &json!({"to": to, "log_size": size, "damaged": damaged}), || {
        format!("{to}: a log of {size} leaves, checked{}", damage(&damaged))
    })?;
    Ok(Exit::Ok)
}

pub(crate) fn restore(global: &Global, args: &RestoreArgs) -> Result<Exit, Failure> {
    let progress = Progress::of("copying and checking");
    let restored = sekisho_server::restore(&args.from, &args.data, &args.trust_domain, args.danger_accept_older_log);
    drop(progress);
    let Restored { copied: Copied { log_size, damaged }, log } = restored.map_err(Failure::failed)?;
    let data = args.data.display().to_string();
    let (size, kept, log) = match log {
        RestoredLog::Kept { size } => {
            (size, true, format!("the log that was here holds all of the copy's and stays, with its {size} leaves"))
        }
        RestoredLog::Continued { origin } => {
            let goes_on = format!("a log of {log_size} leaves; it goes on as `{origin}` with a new key");
            (log_size, false, format!("{goes_on}: give auditors the new trust policy beside the old one"))
        }
    };
    print(global.output, &json!({"data": data, "log_size": size, "log_kept": kept, "damaged": damaged}), || {
        let tokens = "join tokens that were open are void, make new ones";
        format!("{data}: {log}; {tokens}{}", damage(&damaged))
    })?;
    Ok(Exit::Ok)
}

/// The text about decisions that cannot be read.
fn damage(damaged: &[PathBuf]) -> String {
    let line = |path: &PathBuf| format!("\ndamaged, as it was before: some decisions in {}", path.display());
    damaged.iter().map(line).collect()
}
