//! Follows the Workload API: each new set, and why there is none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;
use sekisho_types::{SpiffeId, UnixTime};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::material::Material;
use crate::exit::{Exit, Failure};
use crate::reach;

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the agent sent last. An outage takes nothing away: what was sent is valid until it expires.
pub(crate) struct Followed {
    socket: PathBuf,
    pub material: watch::Receiver<Option<Arc<Material>>>,
    trouble: watch::Receiver<Option<Status>>,
}

impl Followed {
    pub(crate) fn start(socket: &Path, wanted: Option<SpiffeId>) -> Self {
        let (material, material_rx) = watch::channel(None);
        let (trouble, trouble_rx) = watch::channel(None);
        let feed = Feed { socket: socket.to_owned(), wanted, material, trouble };
        tokio::spawn(feed.run());
        Self { socket: socket.to_owned(), material: material_rx, trouble: trouble_rx }
    }

    #[cfg(test)]
    pub(crate) fn of(material: watch::Receiver<Option<Arc<Material>>>) -> Self {
        Self { socket: PathBuf::new(), material, trouble: watch::channel(None).1 }
    }

    /// The first set, or why it did not come in time.
    pub(crate) async fn first(&mut self, within: Option<Duration>) -> Result<Arc<Material>, Failure> {
        let arrives = self.material.wait_for(Option::is_some);
        let found = match within {
            Some(within) => tokio::time::timeout(within, arrives).await.ok(),
            None => Some(arrives.await),
        };
        if let Some(Ok(found)) = found
            && let Some(found) = found.as_ref()
        {
            return Ok(found.clone());
        }
        let trouble = self.trouble.borrow().clone();
        Err(match trouble {
            Some(status) => reach::status(&self.socket, &status),
            None => {
                Failure::new(Exit::Unreachable, format!("the agent at {} sent no SVID in time", self.socket.display()))
            }
        })
    }

    /// The next set after the one that was seen.
    pub(crate) async fn next(&mut self) -> Option<Arc<Material>> {
        self.material.changed().await.ok()?;
        self.material.borrow_and_update().clone()
    }
}

struct Feed {
    socket: PathBuf,
    wanted: Option<SpiffeId>,
    material: watch::Sender<Option<Arc<Material>>>,
    trouble: watch::Sender<Option<Status>>,
}

impl Feed {
    async fn run(self) {
        let mut pause = Duration::from_millis(50);
        while !self.material.is_closed() {
            let had = self.trouble.borrow().is_none();
            let status = match self.follow().await {
                Ok(()) => Status::unavailable("the agent closed the stream"),
                Err(status) => status,
            };
            if had {
                pause = Duration::from_millis(50);
            }
            self.report(status);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&self) -> Result<(), Status> {
        let mut client = SpiffeWorkloadApiClient::new(agent_channel(&self.socket));
        let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
        while let Some(message) = stream.message().await? {
            let material = Material::of(message, self.wanted.as_ref()).map_err(Status::not_found)?;
            if self.trouble.send_replace(None).is_some() {
                eprintln!("sekisho: the agent at {} answers", self.socket.display());
            }
            self.material.send_if_modified(|held| {
                let differs = held.as_deref() != Some(&material);
                *held = Some(Arc::new(material));
                differs
            });
        }
        Ok(())
    }

    /// Once for each reason, not for each attempt.
    fn report(&self, status: Status) {
        let text = |status: &Status| reach::status(&self.socket, status).to_string();
        let before = self.trouble.borrow().as_ref().map(|status| without_ids(&text(status)));
        if before != Some(without_ids(&text(&status))) {
            let held = self.material.borrow().clone();
            let files = held.map(|held| of_files(status.code(), held.not_after)).unwrap_or_default();
            eprintln!("sekisho: {}{files}", text(&status));
        }
        self.trouble.send_replace(Some(status));
    }
}

/// What the files are good for. Deletion of an entry revokes what was issued for it.
fn of_files(code: Code, not_after: UnixTime) -> String {
    match code {
        Code::PermissionDenied | Code::NotFound => format!(
            "; if its entry was deleted or changed, peers refuse the files from now on, else they are valid until \
             {not_after}"
        ),
        _ => format!("; the files are valid until {not_after}"),
    }
}

/// The text without the ids of refusals, of which each attempt has another.
fn without_ids(text: &str) -> String {
    text.split(' ').filter(|word| !word.contains("ref_")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_deleted_entry_are_refused() {
        let text = |code| of_files(code, UnixTime::from_seconds(0));
        assert!(text(Code::PermissionDenied).contains("peers refuse the files from now on"));
        assert_eq!(text(Code::Unavailable), "; the files are valid until 1970-01-01T00:00:00Z");
    }
}
