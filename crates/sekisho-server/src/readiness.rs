//! Looks again and again whether this server can do its work: what `/readyz` and the gRPC health service say.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sekisho_runtime::now;
use sekisho_store::{Batch, Write};
use tokio::sync::Notify;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::domain::{Domains, Shared};

/// How often everything is looked at while all is well, and while something is not.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What a look writes: more than one block, so that a full disk shows.
const PROBE_BYTES: usize = 64 * 1024;

/// Rings when a domain was looked at.
pub(crate) type Looked = Arc<Notify>;

/// Looks at every part of a domain until the server stops.
pub(crate) async fn watch(domain: Shared, data: PathBuf, looked: Looked) {
    let mut said = vec![];
    loop {
        let failing = look(&domain, &data).await;
        *domain.watch.health.failing.write().unwrap_or_else(PoisonError::into_inner) = failing;
        looked.notify_one();
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
pub(crate) async fn report(domains: Domains, looked: Looked, reporter: HealthReporter) {
    loop {
        let status = |well: bool| if well { ServingStatus::Serving } else { ServingStatus::NotServing };
        let mut all = true;
        for domain in domains.iter() {
            let well = domain.watch.health.failing().is_empty();
            reporter.set_service_status(domain.identity.name.as_str(), status(well)).await;
            all &= well;
        }
        reporter.set_service_status("", status(all)).await;
        looked.notified().await;
    }
}

async fn look(domain: &Shared, data: &Path) -> Vec<&'static str> {
    let probe = data.join("ready-probe");
    let looked = sekisho_runtime::blocking(move || probe_disk(&probe).map_err(|error| error.to_string()));
    let Ok(disk) = looked.await else { return vec!["store"] };
    let read = domain.store.revision(&domain.identity.name).await;
    let written = domain.store.commit(Batch::of(&domain.identity.name, Write::Probe)).await;
    domain.watch.health.stored(&written);
    let store = read.map(drop).and(written.map(drop)).map_err(|error| error.to_string());
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

/// Makes a file durable beside what has to be, and deletes it.
fn probe_disk(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all());
    std::fs::remove_file(path)?;
    written
}
