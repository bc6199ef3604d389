//! The log as it stands on a server's disk.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sekisho_ledger::TrustPolicy;
use sekisho_server::FsckError;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Stderr, is_for_program, print};

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerVerb {
    /// Check every leaf, tile and opening of a server's log, and its root against the checkpoint; the server
    /// may run
    #[command(after_help = "Example:\n  sekisho ledger fsck --data /var/lib/sekisho/server")]
    Fsck(FsckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    /// The server's data folder, or a backup
    #[arg(long, env = "SEKISHO_SERVER_DATA", default_value = "/var/lib/sekisho/server")]
    data: PathBuf,
    /// Trust policy that names the log's key; default: `trust-policy` in the data folder, which a backup does not have
    #[arg(long, env = "SEKISHO_TRUST_POLICY")]
    trust_policy: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, verb: &LedgerVerb) -> Result<Exit, Failure> {
    let LedgerVerb::Fsck(args) = verb;
    let path = args.trust_policy.clone().unwrap_or_else(|| args.data.join("trust-policy"));
    let unusable = |error: &dyn std::fmt::Display| Failure::failed(advice(&args.data, &path, error));
    let policy =
        TrustPolicy::parse(&std::fs::read_to_string(&path).map_err(|e| unusable(&e))?).map_err(|e| unusable(&e))?;
    let checked = sekisho_server::fsck(&args.data, &policy, progress()).map_err(|error| match error {
        FsckError::Read { .. } => Failure::failed(error),
        FsckError::Checkpoint { .. } => Failure::new(Exit::Denied, error),
    })?;
    let ledger = args.data.join("ledger");
    let form = |damage: &sekisho_disk::LogDamage| {
        let file = ledger.join(&damage.file).display().to_string();
        json!({"file": file, "first_entry": damage.first, "last_entry": damage.last, "what": damage.what})
    };
    let damage: Vec<_> = checked.damage.iter().map(form).collect();
    print(global.output, &json!({"log_size": checked.size, "damage": damage}), || text(&ledger, &checked))?;
    Ok(if checked.damage.is_empty() { Exit::Ok } else { Exit::Denied })
}

/// What to type when the trust policy is missing.
fn advice(data: &Path, path: &Path, error: &dyn std::fmt::Display) -> String {
    if !data.join("ledger").exists() {
        let data = data.display();
        return format!("{data} has no log: `sekisho ledger fsck --data FOLDER` with the data folder of a server");
    }
    let (data, path) = (data.display(), path.display());
    format!(
        "{path}: {error}; write the log's trust policy (`GET /v1/log` shows it) to a file, and \
         `sekisho ledger fsck --data {data} --trust-policy FILE`"
    )
}

fn text(ledger: &Path, checked: &sekisho_server::Checked) -> String {
    if checked.damage.is_empty() {
        return format!("{}: {} leaves, no damage", ledger.display(), checked.size);
    }
    let lines: Vec<String> =
        checked.damage.iter().map(|damage| format!("damaged: {}/{damage}", ledger.display())).collect();
    format!("{}\n{} leaves; stop the server and restore the log from a backup", lines.join("\n"), checked.size)
}

/// A line on stderr: on a terminal it counts up, elsewhere one comes for each tenth.
fn progress() -> impl FnMut(u64, u64) {
    let mut shown = 0;
    let is_terminal = !is_for_program() && std::io::stderr().is_terminal();
    move |done, all| {
        let tenth = done * 10 / all.max(1);
        // Nothing depends on it.
        let _shown = if is_terminal && (done % 64 == 0 || done == all) {
            write!(Stderr, "\r{done} of {all} bundles{}", if done == all { "\n" } else { "" })
        } else if !is_terminal && tenth > shown {
            writeln!(Stderr, "{done} of {all} bundles")
        } else {
            Ok(())
        };
        shown = tenth;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_same_data_folder() {
        let own = tempfile::tempdir().unwrap();
        let text = || advice(own.path(), &own.path().join("trust-policy"), &"missing");
        assert!(text().contains("has no log"), "{}", text());
        std::fs::create_dir(own.path().join("ledger")).unwrap();
        let command = format!("`sekisho ledger fsck --data {} --trust-policy FILE`", own.path().display());
        assert!(text().contains(&command), "{}", text());
    }
}
