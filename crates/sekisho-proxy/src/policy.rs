//! The policy in force: streamed by the agent, kept on disk over a restart, loaded whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sekisho_disk::{remove_file, write_atomic};
use sekisho_policy::{PolicySet, Source};
use sekisho_proto::node::{ReportPolicyRequest, WatchPolicyRequest, sidecar_client::SidecarClient};
use sekisho_proto::server::Policy;
use sekisho_runtime::instant;
use sekisho_sdk::{AgentChannel, CurrentIdentity};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

/// A loaded revision.
pub(crate) struct InForce {
    pub revision: u64,
    pub set: PolicySet,
}

pub(crate) struct PolicyKeeper {
    current: ArcSwapOption<InForce>,
    path: PathBuf,
    /// Whether the agent has sent a policy in this run.
    heard: watch::Sender<bool>,
    /// From then on the policy of an earlier run decides all the same.
    patient_until: Instant,
    /// Rings after each change, so that long streams are judged again (law L12).
    pub changed: watch::Sender<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    revision: u64,
    files: Vec<(String, String)>,
}

impl PolicyKeeper {
    /// With the revision that an earlier run kept, if it still loads.
    pub(crate) fn open(path: PathBuf) -> Self {
        let (heard, patient_until) = (watch::channel(false).0, instant() + PATIENCE);
        let keeper = Self { current: ArcSwapOption::empty(), path, heard, patient_until, changed: watch::channel(0).0 };
        match std::fs::read(&keeper.path).map(|bytes| stored_policy(&bytes)) {
            Ok(Ok((revision, files))) => {
                if let Some(set) = load(revision, files) {
                    keeper.put_in_force(revision, set);
                }
            }
            Ok(Err(reason)) => {
                tracing::error!(reason, "the policy on disk is not readable; all is denied until the agent sends one")
            }
            // The first run.
            Err(_) => {}
        }
        keeper
    }

    pub(crate) fn current(&self) -> Option<Arc<InForce>> {
        self.current.load_full()
    }

    /// Waits until the agent has sent its policy, but not without end: what an earlier run of this sidecar kept may be
    /// of long ago, and its identity is of now.
    pub(crate) async fn complete(&self) {
        if *self.heard.borrow() || self.current.load().is_none() {
            return;
        }
        let mut heard = self.heard.subscribe();
        let _late = tokio::time::timeout_at(self.patient_until, heard.wait_for(|heard| *heard)).await;
    }

    fn put_in_force(&self, revision: u64, set: PolicySet) {
        tracing::info!(revision, digest = %set.digest(), "policy in force");
        self.current.store(Some(Arc::new(InForce { revision, set })));
        self.changed.send_replace(revision);
    }

    /// Takes a revision unless it is older than the one in force: an agent that comes back may hold an old one. After a
    /// restore the server gives out the policy of its copy under a revision beyond all earlier ones.
    fn take(&self, policy: Policy) {
        self.put(policy);
        self.heard.send_replace(true);
    }

    fn put(&self, policy: Policy) {
        let (revision, held) = (policy.revision, self.current().map_or(0, |in_force| in_force.revision));
        if revision < held {
            tracing::error!(
                held,
                sent = revision,
                "an older policy revision is not taken; if this server was set up anew, stop this sidecar and delete \
                    {}",
                self.path.display()
            );
            return;
        }
        let files: Vec<_> = policy.files.into_iter().map(|file| (file.name, file.text)).collect();
        let Some(set) = load(revision, files.clone()) else { return };
        // On disk first: a restart goes on with what has decided already, and not with the one before it.
        let stored = serde_json::to_vec(&Stored { revision, files }).unwrap_or_default();
        if let Err(error) = write_atomic(&self.path, &stored) {
            tracing::error!(%error, "the policy was not kept on disk; a restart without the agent would deny all");
            // The one before would decide after a restart.
            if let Err(error) = remove_file(&self.path) {
                tracing::error!(%error, "an older policy may have stayed on disk; it decides after a restart until \
                    the agent sends this one");
            }
        }
        self.put_in_force(revision, set);
    }
}

fn load(revision: u64, files: Vec<(String, String)>) -> Option<PolicySet> {
    let sources = files.into_iter().map(|(name, text)| Source { name, text }).collect();
    let loaded = PolicySet::load(sources);
    loaded
        .inspect_err(|error| {
            tracing::error!(revision, %error, "the policy revision does not load; the last good one stays in force");
        })
        .ok()
}

/// Reads the policy that an earlier run kept: its revision, and its files by name.
pub fn stored_policy(bytes: &[u8]) -> Result<(u64, Vec<(String, String)>), String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok((stored.revision, stored.files))
}

/// Before the agent is asked again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long decisions wait for the agent's first word.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the agent's policy stream without end, and reports what is in force.
pub(crate) async fn follow(
    keeper: Arc<PolicyKeeper>,
    agent: AgentChannel,
    held: watch::Receiver<Option<CurrentIdentity>>,
) {
    loop {
        tokio::select! {
            biased;
            followed = stream(&keeper, &agent) => if let Err(status) = followed {
                tracing::debug!(reason = status.message(), "no policy stream; the last good revision stays in force");
            },
            () = report(&keeper, &agent, held.clone()) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn stream(keeper: &Arc<PolicyKeeper>, agent: &AgentChannel) -> Result<(), Status> {
    let mut policies = SidecarClient::new(agent.clone()).watch_policy(WatchPolicyRequest {}).await?.into_inner();
    while let Some(policy) = policies.message().await? {
        // Parsing and the disk take their time.
        let taker = keeper.clone();
        let _taken = sekisho_runtime::blocking(move || taker.take(policy)).await;
    }
    Ok(())
}

/// Reports what is in force, for each identity that is delegated: with the one before it the agent has forgotten what
/// was reported. A revision is taken whether or not there is an identity, so that the first request is decided by the
/// newest.
async fn report(keeper: &PolicyKeeper, agent: &AgentChannel, mut held: watch::Receiver<Option<CurrentIdentity>>) {
    let mut changed = keeper.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let id = held.borrow_and_update().as_ref().map(|held| held.spiffe_id.to_string());
        let is_heard = match (id, keeper.current()) {
            (Some(spiffe_id), Some(in_force)) => {
                let report = ReportPolicyRequest { spiffe_id, revision: in_force.revision };
                SidecarClient::new(agent.clone()).report_policy(report).await.is_ok()
            }
            _ => true,
        };
        tokio::select! {
            biased;
            heard = changed.changed() => if heard.is_err() { return },
            heard = held.changed() => if heard.is_err() { return },
            () = tokio::time::sleep(PAUSE), if !is_heard => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sekisho_proto::server::PolicyFile;

    use super::*;

    #[test]
    fn a_broken_revision_leaves_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        let policy = |revision, text: &str| Policy {
            revision,
            files: vec![PolicyFile { name: "p.rego".into(), text: text.into() }],
        };
        let good = "package workload.authz\n\ndefault allow := false\n\nallow if input.method == \"GET\"\n";
        let keeper = PolicyKeeper::open(path.clone());
        assert!(keeper.current().is_none());
        keeper.take(policy(3, good));
        assert_eq!(keeper.current().unwrap().revision, 3);
        let changes = keeper.changed.subscribe();
        for bad in
            ["package workload.authz\n\nallow if {", "", "package other\n", "package workload.authz\nallow if f(1)"]
        {
            keeper.take(policy(4, bad));
            assert_eq!(keeper.current().unwrap().revision, 3, "{bad}");
        }
        assert!(!changes.has_changed().unwrap());
        drop(keeper);
        assert_eq!(PolicyKeeper::open(path).current().unwrap().revision, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn law_l14_a_kept_policy_waits_for_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        let policy = |revision| {
            let text = "package workload.authz\nallow if true\n".into();
            Policy { revision, files: vec![PolicyFile { name: "p.rego".into(), text }] }
        };
        PolicyKeeper::open(path.clone()).take(policy(3));
        let (keeper, began) = (Arc::new(PolicyKeeper::open(path.clone())), instant());
        let waits = keeper.clone();
        let waits = tokio::spawn(async move {
            waits.complete().await;
            waits.current().map(|in_force| in_force.revision)
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished());
        keeper.take(policy(4));
        assert_eq!((waits.await.unwrap(), began.elapsed()), (Some(4), Duration::from_secs(1)));
        // An agent that has none to send, or does not answer.
        let (silent, began) = (PolicyKeeper::open(path), instant());
        silent.complete().await;
        silent.complete().await;
        assert_eq!(began.elapsed(), PATIENCE);
    }

    /// The attack: the disk is full when a policy comes that allows less, and the sidecar starts again.
    #[test]
    fn law_l12_an_unwritten_policy_leaves_no_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        let policy = |revision, text: &str| Policy {
            revision,
            files: vec![PolicyFile { name: "p.rego".into(), text: format!("package workload.authz\n{text}\n") }],
        };
        let keeper = PolicyKeeper::open(path.clone());
        keeper.take(policy(3, "allow if true"));
        // Where the new file would be written.
        std::fs::create_dir(path.with_added_extension("new")).unwrap();
        keeper.take(policy(4, "allow if false"));
        assert_eq!(keeper.current().unwrap().revision, 4);
        drop(keeper);
        assert!(PolicyKeeper::open(path).current().is_none());
    }

    #[test]
    fn law_l12_an_older_policy_revision_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        let policy = |revision, method: &str| Policy {
            revision,
            files: vec![PolicyFile {
                name: "p.rego".into(),
                text: format!("package workload.authz\nallow if input.method == \"{method}\"\n"),
            }],
        };
        let digest = |keeper: &PolicyKeeper| keeper.current().unwrap().set.digest();
        let keeper = PolicyKeeper::open(path.clone());
        keeper.take(policy(3, "POST"));
        keeper.take(policy(7, "GET"));
        let (newest, changes) = (digest(&keeper), keeper.changed.subscribe());
        keeper.take(policy(3, "POST"));
        assert_eq!((keeper.current().unwrap().revision, digest(&keeper)), (7, newest));
        assert!(!changes.has_changed().unwrap());
        drop(keeper);
        // Nor after a restart.
        let keeper = PolicyKeeper::open(path);
        keeper.take(policy(6, "POST"));
        assert_eq!((keeper.current().unwrap().revision, digest(&keeper)), (7, newest));
        // What a restored server gives out has a revision of its own.
        keeper.take(policy((1 << 32) + 3, "POST"));
        assert_ne!(digest(&keeper), newest);
    }
}
