//! Looks again and again whether this server can do its work: what `/readyz` and the gRPC health service say.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sekisho_runtime::now;
use sekisho_store::{Batch, Write};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::domain::{Domains, Shared};

/// How often everything is looked at while all is well, and while something is not.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a probe of a disk or a database may take. One that hangs is as bad as one that fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a probe writes: more than one block, so that a full disk shows.
const PROBE_BYTES: usize = 64 * 1024;

/// Notified when a domain was probed.
pub(crate) type ProbeSignal = Arc<Notify>;

/// Looks at every part of a domain until the server stops.
pub(crate) async fn watch(domain: Shared, data: PathBuf, probed: ProbeSignal) {
    let (mut said, mut probes) = (vec![], Probes::at(&data));
    loop {
        let failing = probes.run(&domain).await;
        *domain.watch.health.failing.write().unwrap_or_else(PoisonError::into_inner) = failing;
        probed.notify_one();
        let failing = domain.watch.health.failing();
        if failing != said {
            let trust_domain = domain.identity.name.as_str();
            match failing.is_empty() {
                true => tracing::info!(trust_domain, "ready"),
                false => tracing::error!(trust_domain, failing = failing.join(", "), "not ready"),
            }
        }
        let wait = if failing.is_empty() { LOOK_EVERY } else { LOOK_AGAIN };
        said = failing;
        tokio::time::sleep(wait).await;
    }
}

/// Keeps the gRPC health service to what was found: of the server as a whole, and of each trust domain under its name.
pub(crate) async fn report(domains: Domains, probed: ProbeSignal, reporter: HealthReporter) {
    loop {
        let status = |well: bool| if well { ServingStatus::Serving } else { ServingStatus::NotServing };
        let mut all = true;
        for domain in domains.iter() {
            let well = domain.watch.health.failing().is_empty();
            reporter.set_service_status(domain.identity.name.as_str(), status(well)).await;
            all &= well;
        }
        reporter.set_service_status("", status(all)).await;
        probed.notified().await;
    }
}

/// The probes of a domain, and those that have no answer yet.
struct Probes {
    folder: PathBuf,
    /// The folder that the server opened, however it is called now.
    opened: Option<(u64, u64)>,
    disk: Probe,
    store: Probe,
}

impl Probes {
    fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            opened: inode(folder).ok(),
            disk: Probe::with(PATIENCE),
            store: Probe::with(PATIENCE),
        }
    }

    async fn run(&mut self, domain: &Shared) -> Vec<&'static str> {
        let (folder, opened) = (self.folder.clone(), self.opened);
        let probe = move || probe_disk(&folder, opened).map_err(|error| error.to_string());
        let disk = self.disk.result(|| sekisho_runtime::blocking(probe)).await;
        let probed = domain.clone();
        let store = self.store.result(|| tokio::spawn(async move { probe_store(&probed).await })).await;
        let authority = match domain.identity.authorities.signing() {
            Ok(signing) if signing.record.not_before > now() => {
                Err("the signing authority is not valid yet: the clock went back".to_owned())
            }
            Ok(signing) if signing.record.not_after > now() => Ok(()),
            Ok(_) => Err("the signing authority has expired".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if disk.is_ok() {
            domain.watch.health.disk_works();
        }
        let outbox = match domain.log.outbox.is_stuck() {
            true => Err("leaves of changes wait and the log takes none".to_owned()),
            false => Ok(()),
        };
        let mut failing = vec![];
        for (part, result) in [("disk", disk), ("store", store), ("authority", authority), ("ledger", outbox)] {
            if let Err(error) = result {
                tracing::debug!(part, error, "not usable");
                failing.push(part);
            }
        }
        failing
    }
}

/// A probe of something that may never answer. While one waits, no other begins: each holds a thread, or a place in the
/// store's queue.
struct Probe {
    patience: Duration,
    begun: Option<JoinHandle<Result<(), String>>>,
}

impl Probe {
    const fn with(patience: Duration) -> Self {
        Self { patience, begun: None }
    }

    async fn result(&mut self, begin: impl FnOnce() -> JoinHandle<Result<(), String>>) -> Result<(), String> {
        let mut begun = self.begun.take().unwrap_or_else(begin);
        match tokio::time::timeout(self.patience, &mut begun).await {
            Ok(answered) => answered.unwrap_or_else(|ended| Err(ended.to_string())),
            Err(_) => {
                self.begun = Some(begun);
                Err(format!("no answer within {} s", self.patience.as_secs()))
            }
        }
    }
}

async fn probe_store(domain: &Shared) -> Result<(), String> {
    let read = domain.store.revision(&domain.identity.name).await;
    let written = domain.store.commit(Batch::of(&domain.identity.name, Write::Probe)).await;
    domain.watch.health.stored(&written);
    read.map(drop).and(written.map(drop)).map_err(|error| error.to_string())
}

/// Makes a file durable beside what has to be, and deletes it: in the folder that the server opened. In another of its
/// name nothing of what the server holds open can be found again.
fn probe_disk(folder: &Path, opened: Option<(u64, u64)>) -> std::io::Result<()> {
    let path = folder.join("ready-probe");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all());
    std::fs::remove_file(&path)?;
    written?;
    match inode(folder)? {
        found if Some(found) == opened => Ok(()),
        _ => Err(std::io::Error::other("another folder stands where the data folder was when the server started")),
    }
}

fn inode(folder: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(folder).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_folder_of_the_same_name_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let (data, away) = (top.path().join("data"), top.path().join("away"));
        std::fs::create_dir(&data).unwrap();
        let opened = inode(&data).ok();
        probe_disk(&data, opened).unwrap();
        std::fs::rename(&data, &away).unwrap();
        assert!(probe_disk(&data, opened).is_err());
        std::fs::create_dir(&data).unwrap();
        assert!(probe_disk(&data, opened).unwrap_err().to_string().contains("another folder"));
        std::fs::remove_dir(&data).unwrap();
        std::fs::rename(&away, &data).unwrap();
        probe_disk(&data, opened).unwrap();
    }

    #[tokio::test]
    async fn a_probe_without_answer_fails_in_time() {
        let (answer, asked) = tokio::sync::watch::channel(false);
        let (mut probe, mut begun) = (Probe::with(Duration::from_millis(20)), 0);
        let mut waits = || {
            begun += 1;
            let mut asked = asked.clone();
            tokio::spawn(async move { asked.wait_for(|answered| *answered).await.map(drop).map_err(|e| e.to_string()) })
        };
        assert!(probe.result(&mut waits).await.unwrap_err().starts_with("no answer"));
        assert!(probe.result(&mut waits).await.is_err());
        answer.send(true).unwrap();
        probe.patience = Duration::from_secs(60);
        assert_eq!(probe.result(&mut waits).await, Ok(()));
        assert_eq!(probe.result(&mut waits).await, Ok(()));
        assert_eq!(begun, 2);
    }
}
