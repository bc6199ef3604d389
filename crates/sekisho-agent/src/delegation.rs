//! One workload's identity, delegated to its sidecar while the workload lives and stays what it is (flow 2).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sekisho_evidence::HashAlgorithm;
use sekisho_host::{Measurement, Process};
use sekisho_identity::Entry;
use sekisho_proto::node as wire;
use sekisho_types::{SpiffeId, UnixTime};
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::core::Core;
use crate::delegated_key::DelegatedKey;
use crate::refusal::Refusal;
use crate::renewal_due::renewal_due;
use crate::svid::{CachedSvid, HeldKey, KeyId};
use crate::{delegations, issue, records, sole_holder};

/// One stream that delegates a workload's identity to its sidecar.
pub(crate) struct Delegation {
    pub core: Arc<Core>,
    pub borrower: Arc<Caller>,
    pub workload: Arc<Process>,
    /// Asked for by the sidecar.
    pub wanted: Option<SpiffeId>,
    pub stream: delegations::Stream,
}

/// How often it is looked at what a workload runs whose identity is in use. The kernel does not say: a pidfd is silent
/// about exec, and the events of processes (proc connector) take CAP_NET_ADMIN.
const LOOK: Duration = Duration::from_millis(500);

impl Delegation {
    /// Sends the SVID that is delegated, again after each change, until the workload is no longer what it was.
    pub(crate) async fn feed<E>(&self, to: &mpsc::Sender<Result<wire::LendResponse, E>>) -> Result<(), Refusal> {
        let Self { core, borrower, workload, .. } = self;
        let mut changes = core.server_state.changes();
        let mut said = None;
        loop {
            changes.mark_unchanged();
            let (measured, at) = self.measure().await?;
            let entry = self.entry(&measured, at).await?;
            let due = match issue::x509(core, &entry, &measured, at).await {
                Ok(held) => {
                    let state =
                        (held.log_index, held.not_after, core.server_state.bundle().sequence, measured.executable);
                    if said != Some(state) {
                        sole_holder::check(&core.host, borrower).await?;
                        core.host.still_measured(workload, |process| process, &measured).await?;
                        if core.delegations.put(borrower.process.pid(), self.stream, held.spiffe_id.clone()) {
                            core.delegations.ring();
                        }
                        let signing_key = self.key(&held, &measured);
                        if to.send(Ok(response(core, &held, signing_key, &measured))).await.is_err() {
                            return Ok(());
                        }
                        said = Some(state);
                    }
                    Some(held.renew_at)
                }
                Err(refusal) if said.is_some() && !refusal.is_final() => None,
                // The server has it in its log.
                Err(refusal) => return Err(refusal.on_record()),
            };
            tokio::select! {
                biased;
                () = workload.stopped() => return Err(Refusal::stopped("the workload has stopped")),
                () = borrower.process.stopped() => return Ok(()),
                () = to.closed() => return Ok(()),
                () = self.changed(&measured) => {}
                heard = changes.changed() => if heard.is_err() { return Ok(()) },
                () = renewal_due(due) => {}
            }
        }
    }

    /// Lets the sidecar sign with the key of this SVID, if it is in the TPM. Returns how the sidecar names it.
    fn key(&self, held: &Arc<CachedSvid>, measured: &Measurement) -> Option<KeyId> {
        let HeldKey::Hardware(key) = &held.key else { return None };
        let id = KeyId::from_slice(&HashAlgorithm::Sha256.digest([key.signer.public_key_der()])).ok()?;
        let (borrower, workload) = (self.borrower.clone(), self.workload.clone());
        let (signer, svid, measured) = (key.signer.clone(), held.clone(), measured.clone());
        let key = DelegatedKey { id, signer, svid, borrower, workload, measured };
        self.core.delegations.put_key(self.borrower.process.pid(), self.stream, Arc::new(key));
        Some(id)
    }

    async fn measure(&self) -> Result<(Measurement, UnixTime), Refusal> {
        let may_borrow = |owner: u32| {
            let may = self.borrower.uid == 0 || self.borrower.uid == owner;
            may.then_some(()).ok_or(Refusal::NoSidecar("a sidecar runs as its workload's user, or as root"))
        };
        let owner = self.workload.owner().map_err(|error| Refusal::stopped(&error.to_string()))?;
        may_borrow(owner)?;
        let (measured, at) = self.core.host.measure(owner, self.workload.clone(), |process| process).await?;
        may_borrow(measured.uid)?;
        check_group(&self.borrower.process, self.borrower.uid, measured.gid)?;
        if measured.executable_digest.is_none() {
            return Err(Refusal::NoSidecar(
                "the workload is in another user namespace than this agent, so its executable cannot be measured, and \
                    no sidecar may speak for it",
            ));
        }
        Ok((measured, at))
    }

    /// The one entry whose identity the sidecar is to speak for.
    async fn entry(&self, measured: &Measurement, at: UnixTime) -> Result<Arc<Entry>, Refusal> {
        let mut matched = self.core.server_state.matches(&measured.selectors, at);
        if matched.is_empty() {
            return Err(records::no_identity(&self.core, measured).await);
        }
        // Who gets a request through the sidecar must not speak as an operator, nor as another server.
        matched.retain(|entry| !entry.admin && !entry.downstream);
        if matched.is_empty() {
            return Err(Refusal::NoSidecar("entries that are `admin` or `downstream` are delegated to no sidecar"));
        }
        let ids: BTreeSet<String> = matched.iter().map(|entry| entry.spiffe_id.to_string()).collect();
        let listed = ids.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = &self.wanted {
            matched.retain(|entry| entry.spiffe_id == *wanted);
        } else if ids.len() > 1 {
            return Err(Refusal::SeveralIds(listed));
        }
        // Of entries with one identity, the same each time.
        let first = matched.into_iter().min_by(|a, b| a.id.cmp(&b.id));
        match (first, &self.wanted) {
            (Some(entry), _) => Ok(entry),
            (None, Some(wanted)) => Err(Refusal::OtherId { wanted: wanted.clone(), listed }),
            (None, None) => Err(Refusal::NoSuchId),
        }
    }

    /// Returns once the workload runs another program, or as another user, than it was measured with.
    async fn changed(&self, measured: &Measurement) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.core.host.still_measured(&self.workload, |process| process, measured).await.is_err() {
                return;
            }
        }
    }
}

/// Refuses a sidecar that is not in its workload's group: a set-group-ID program has one that the user who starts it
/// may lack.
fn check_group(sidecar: &Process, uid: u32, gid: u32) -> Result<(), Refusal> {
    // A process that cannot be read shares nothing.
    if uid == 0 || sidecar.is_in_group(gid).unwrap_or(false) {
        return Ok(());
    }
    Err(Refusal::OtherGroup(gid))
}

fn response(core: &Core, held: &CachedSvid, signing_key: Option<KeyId>, measured: &Measurement) -> wire::LendResponse {
    wire::LendResponse {
        spiffe_id: held.spiffe_id.to_string(),
        cert_chain: held.chain.clone(),
        private_key: held.deliverable_key().map(|key| key.expose().clone()).unwrap_or_default(),
        bundle: core.server_state.bundle().x509_authorities.iter().map(|authority| authority.der.clone()).collect(),
        log_index: held.log_index,
        executable: measured.executable.to_bytes().to_vec(),
        signing_key: signing_key.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_sidecar_outside_its_workloads_group_is_refused() {
        let own = Process::open(std::process::id().cast_signed()).unwrap();
        let gid = std::fs::metadata("/proc/self").unwrap().gid();
        check_group(&own, 1000, gid).unwrap();
        let refused = check_group(&own, 1000, 4_000_000_001).unwrap_err();
        assert!(matches!(refused, Refusal::OtherGroup(4_000_000_001)), "{refused}");
        // Root may take on any group.
        check_group(&own, 0, 4_000_000_001).unwrap();
    }
}
