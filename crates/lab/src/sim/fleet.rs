//! The programs of a simulation, with the options that they are started with.

use std::path::Path;

use clap::{Args, FromArgMatches};
use sekisho_agent::AgentArgs;
use sekisho_disk::{DiskError, lock_folder};
use sekisho_runtime::Stop;
use sekisho_server::ServerArgs;

/// Reads options as the command line does.
pub fn options<T: Args + FromArgMatches>(given: &[&str]) -> T {
    let command = T::augment_args(clap::Command::new("simulated").no_binary_name(true));
    T::from_arg_matches(&command.try_get_matches_from(given).unwrap()).unwrap()
}

pub(super) async fn server(data: std::path::PathBuf) -> Result<(), String> {
    let args: ServerArgs = options(&[
        "--trust-domain",
        "example.org",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "10.0.0.1:8081",
        "--ca-ttl",
        "300s",
        "--agent-ttl",
        "300s",
    ]);
    wait_for_the_lock(&data.join("ledger"));
    sekisho_server::run(args, Stop::new(), |_, _| ()).await.map_err(|error| error.to_string())
}

/// The kernel closes the files of a process that crashed. Here threads of the crashed run close them, a moment of real
/// time later.
pub(super) fn wait_for_the_lock(ledger: &Path) {
    let mut looks = 0;
    while matches!(lock_folder(ledger), Err(DiskError::InUse(_))) && looks < 20_000 {
        std::thread::sleep(std::time::Duration::from_millis(1));
        looks += 1;
    }
}

/// `sidecar` is the digest of the executable that may act as one.
pub(super) async fn agent(
    data: std::path::PathBuf,
    server: String,
    fingerprints: String,
    sidecar: String,
) -> Result<(), String> {
    let token = data.join("token");
    let args: AgentArgs = options(&[
        "--trust-domain",
        "example.org",
        "--data",
        data.to_str().unwrap(),
        "--server",
        &server,
        "--fingerprint",
        &fingerprints,
        "--join-token-file",
        token.to_str().unwrap(),
        "--sidecar-sha256",
        &sidecar,
    ]);
    sekisho_agent::run(args, Stop::new(), |_: &Path| ()).await.map_err(|error| error.to_string())
}
