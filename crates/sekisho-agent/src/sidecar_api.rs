//! For sidecars: an SVID delegated while its workload lives, policy revisions, and the way of decisions (flow 2).
//!
//! A borrower could speak for the workload, so: the borrower runs this agent's own executable, or one that the
//! operator named; it runs as the workload's user, or as root; and both are held by pidfd.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sekisho_events::RecordHead;
use sekisho_host::{HostError, Measurement, Process};
use sekisho_identity::Entry;
use sekisho_net::on_record;
use sekisho_proto::node as wire;
use sekisho_proto::node::sidecar_server::Sidecar;
use sekisho_proto::server::{Policy, RecordRequest, RecordResponse, node_client::NodeClient};
use sekisho_runtime::now;
use sekisho_types::{SpiffeId, UnixTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::{Caller, ended, measure_process, still_measured};
use crate::core::{Core, HeldSvid, StreamGuard};
use crate::{delegations, issue, records, revocations, sole_holder};

pub(crate) struct Service(pub(crate) Arc<Core>);

/// After a failed issuance a stream tries again this late.
const RETRY: Duration = Duration::from_secs(3);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Sidecar for Service {
    type LendStream = Messages<wire::LendResponse>;
    type WatchPolicyStream = Messages<Policy>;
    type WatchRevocationsStream = Messages<wire::WatchRevocationsResponse>;

    async fn lend(&self, request: Request<wire::LendRequest>) -> Result<Response<Self::LendStream>, Status> {
        let caller = self.sidecar(&request).await?;
        let wire::LendRequest { workload_pid, workload_start_time, spiffe_id } = request.into_inner();
        let wanted = match spiffe_id.as_str() {
            "" => None,
            text => Some(SpiffeId::parse(text).map_err(|e| Status::invalid_argument(format!("`spiffe_id`: {e}")))?),
        };
        let gone = |error: HostError| on_record(Status::not_found(error.to_string()), None);
        let workload = Process::open(workload_pid).map_err(gone)?;
        if workload.start_time() != workload_start_time {
            return Err(Status::not_found(format!(
                "process {workload_pid} is not the workload: that one has ended, and its number was given to another"
            )));
        }
        let workload = Arc::new(workload);
        let guard = self.stream(&caller)?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            let stream = core.delegations.open();
            let delegation = Delegation { core: core.clone(), borrower: caller.clone(), workload, wanted, stream };
            if let Err(status) = delegation.feed(&to).await {
                let status = records::recorded(&core, &caller, "Lend", status).await;
                let _gone = to.send(Err(status)).await;
            }
            // What a sidecar runs concerns no one once none speaks for that identity.
            if core.delegations.end(caller.process.pid(), stream) {
                core.reported.send_modify(|count| *count += 1);
            }
        });
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }

    async fn watch_policy(
        &self,
        request: Request<wire::WatchPolicyRequest>,
    ) -> Result<Response<Self::WatchPolicyStream>, Status> {
        let caller = self.sidecar(&request).await?;
        let guard = self.stream(&caller)?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            let mut changes = core.changes();
            let mut said = None;
            loop {
                changes.mark_unchanged();
                let policy = core.known(|known| known.policy.clone());
                if let Some(policy) = policy.filter(|policy| said != Some(policy.revision)) {
                    said = Some(policy.revision);
                    if to.send(Ok(policy)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    heard = changes.changed() => if heard.is_err() { return },
                    () = to.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }

    async fn watch_revocations(
        &self,
        request: Request<Streaming<wire::WatchRevocationsRequest>>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let caller = self.holder(&request).await?;
        let guard = self.stream(&caller)?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            let (stream, sidecar) = (core.delegations.open(), caller.process.pid());
            let applied = revocations::applied(&core, sidecar, stream, request.into_inner());
            tokio::join!(revocations::feed(core.clone(), to), applied);
            core.delegations.end_applied(sidecar, stream);
        });
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }

    async fn report_policy(
        &self,
        request: Request<wire::ReportPolicyRequest>,
    ) -> Result<Response<wire::ReportPolicyResponse>, Status> {
        let caller = self.sidecar(&request).await?;
        let report = request.into_inner();
        let delegated = self.delegated_to(&caller)?;
        if delegated.to_string() != report.spiffe_id {
            return Err(Status::permission_denied("a sidecar reports for the identity that was delegated to it"));
        }
        self.0.delegations.reports(caller.process.pid(), &report.spiffe_id, report.revision);
        self.0.reported.send_modify(|count| *count += 1);
        Ok(Response::new(wire::ReportPolicyResponse {}))
    }

    async fn record(&self, request: Request<RecordRequest>) -> Result<Response<RecordResponse>, Status> {
        let caller = self.sidecar(&request).await?;
        let mut request = request.into_inner();
        let delegated = self.delegated_to(&caller)?;
        let is_about_it =
            |record: &[u8]| RecordHead::read(record).is_some_and(|head| head.destination.as_ref() == Some(&delegated));
        if !request.records.iter().all(|record| is_about_it(record)) {
            return Err(Status::invalid_argument("a sidecar records decisions about its own workload only"));
        }
        request.batch_key = format!("{delegated}/{}", request.batch_key);
        NodeClient::new(self.0.server()).record(request).await
    }
}

impl Service {
    /// The caller, if it may act as a sidecar.
    async fn sidecar<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Status> {
        let caller = Caller::of(request)?;
        let (measured, _) = caller.measure(&self.0).await?;
        let Some(digest) = measured.executable_digest else {
            return Err(Status::permission_denied(
                "a sidecar in another user namespace than its agent cannot be measured",
            ));
        };
        if measured.is_traced {
            return Err(Status::permission_denied("a sidecar that another process traces (ptrace) gets no identity"));
        }
        if self.0.sidecar_digests.contains(&digest) {
            return Ok(caller);
        }
        tracing::warn!(pid = measured.pid, %digest, "an unknown executable asked as a sidecar");
        Err(Status::permission_denied(format!(
            "this executable may not act as a sidecar; if it should, start the agent with `--sidecar-sha256 {digest}`"
        )))
    }

    /// The caller, if it may act as a sidecar or has an identity of its own: who refuses peers must know which are revoked.
    async fn holder<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Status> {
        let caller = Caller::of(request)?;
        let (measured, at) = caller.measure(&self.0).await?;
        let has_identity = !self.0.matches(&measured.selectors, at).is_empty();
        if has_identity { Ok(caller) } else { self.sidecar(request).await }
    }

    /// A place for one stream of a process.
    fn stream(&self, caller: &Caller) -> Result<StreamGuard, Status> {
        let guard = self.0.open_stream(caller.process.pid());
        guard.ok_or_else(|| Status::resource_exhausted("this process has too many streams open"))
    }

    fn delegated_to(&self, caller: &Caller) -> Result<SpiffeId, Status> {
        let delegated = self.0.delegations.of(caller.process.pid());
        delegated.ok_or_else(|| Status::failed_precondition("nothing is delegated to this sidecar now"))
    }
}

/// One stream that delegates a workload's identity to its sidecar.
struct Delegation {
    core: Arc<Core>,
    borrower: Arc<Caller>,
    workload: Arc<Process>,
    /// Asked for by the sidecar.
    wanted: Option<SpiffeId>,
    stream: delegations::Stream,
}

/// How often it is looked at what a workload runs whose identity is in use. The kernel does not say: a pidfd is silent about
/// exec, and the events of processes (proc connector) take CAP_NET_ADMIN.
const LOOK: Duration = Duration::from_millis(500);

impl Delegation {
    async fn feed(&self, to: &mpsc::Sender<Result<wire::LendResponse, Status>>) -> Result<(), Status> {
        let Self { core, borrower, workload, .. } = self;
        let mut changes = core.changes();
        let mut said = None;
        loop {
            changes.mark_unchanged();
            let (measured, at) = self.measure().await?;
            let entry = self.entry(&measured, at).await?;
            let wait = match issue::x509(core, &entry, &measured, at).await {
                Ok(held) => {
                    let state = (held.log_index, held.not_after, core.bundle().sequence, measured.executable);
                    if said != Some(state) {
                        sole_holder::check(core, borrower).await?;
                        still_measured(core, workload, |process| process, &measured).await?;
                        if core.delegations.put(borrower.process.pid(), self.stream, held.spiffe_id.clone()) {
                            core.reported.send_modify(|count| *count += 1);
                        }
                        if to.send(Ok(response(core, &held, &measured))).await.is_err() {
                            return Ok(());
                        }
                        said = Some(state);
                    }
                    let millis = held.renew_at.millis().saturating_sub(now().millis());
                    u64::try_from(millis).ok().filter(|ms| *ms > 0).map_or(RETRY, Duration::from_millis)
                }
                Err(status) if said.is_some() && !issue::is_refusal(&status) => RETRY,
                // The server has it in its log.
                Err(status) => return Err(on_record(status, None)),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                heard = changes.changed() => if heard.is_err() { return Ok(()) },
                () = self.changed(&measured) => {}
                () = workload.ended() => return Err(ended("the workload has ended, and its identity with it")),
                () = borrower.process.ended() => return Ok(()),
                () = to.closed() => return Ok(()),
            }
        }
    }

    async fn measure(&self) -> Result<(Measurement, UnixTime), Status> {
        let may_borrow = |owner: u32| {
            let may = self.borrower.uid == 0 || self.borrower.uid == owner;
            may.then_some(())
                .ok_or_else(|| Status::permission_denied("a sidecar runs as its workload's user, or as root"))
        };
        let owner = self.workload.owner().map_err(|error| ended(&error.to_string()))?;
        may_borrow(owner)?;
        let core = self.core.clone();
        let (measured, at) = measure_process(owner, self.workload.clone(), |process| process, core).await?;
        may_borrow(measured.uid)?;
        check_group(&self.borrower.process, self.borrower.uid, measured.gid)?;
        if measured.executable_digest.is_none() {
            return Err(Status::permission_denied(
                "the workload is in another user namespace than this agent, so its executable cannot be measured, and no \
                 sidecar may speak for it",
            ));
        }
        Ok((measured, at))
    }

    /// The one entry whose identity the sidecar is to speak for.
    async fn entry(&self, measured: &Measurement, at: UnixTime) -> Result<Arc<Entry>, Status> {
        let mut matched = self.core.matches(&measured.selectors, at);
        if matched.is_empty() {
            return Err(records::no_identity(&self.core, measured).await);
        }
        // Who gets a request through the sidecar must not speak as an operator, nor as another server.
        matched.retain(|entry| !entry.admin && !entry.downstream);
        if matched.is_empty() {
            return Err(Status::permission_denied(
                "entries that are `admin` or `downstream` are delegated to no sidecar",
            ));
        }
        let ids: BTreeSet<String> = matched.iter().map(|entry| entry.spiffe_id.to_string()).collect();
        let listed = ids.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = &self.wanted {
            matched.retain(|entry| entry.spiffe_id == *wanted);
        } else if ids.len() > 1 {
            return Err(Status::invalid_argument(format!(
                "the workload matches entries of several identities ({listed}); say with `--spiffe-id` which one this sidecar \
                 speaks for"
            )));
        }
        // Of entries with one identity, the same each time.
        matched.into_iter().min_by(|a, b| a.id.cmp(&b.id)).ok_or_else(|| {
            let wanted = self.wanted.as_ref().map(ToString::to_string).unwrap_or_default();
            Status::permission_denied(format!("the workload is not `{wanted}`; its entries give it {listed}"))
        })
    }

    /// Returns once the workload runs another program, or as another user, than it was measured with.
    async fn changed(&self, measured: &Measurement) {
        loop {
            tokio::time::sleep(LOOK).await;
            if still_measured(&self.core, &self.workload, |process| process, measured).await.is_err() {
                return;
            }
        }
    }
}

/// Refuses a sidecar that is not in its workload's group: a set-group-ID program has one that the user who starts it may lack.
fn check_group(sidecar: &Process, uid: u32, gid: u32) -> Result<(), Status> {
    // A process that cannot be read shares nothing.
    if uid == 0 || sidecar.is_in_group(gid).unwrap_or(false) {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "the workload runs in group {gid}, of which its sidecar is not a member; start the sidecar in that group"
    )))
}

fn response(core: &Core, held: &HeldSvid, measured: &Measurement) -> wire::LendResponse {
    wire::LendResponse {
        spiffe_id: held.spiffe_id.to_string(),
        cert_chain: held.identity.chain.clone(),
        private_key: held.identity.key.expose().clone(),
        bundle: core.bundle().x509_authorities.iter().map(|authority| authority.der.clone()).collect(),
        log_index: held.log_index,
        executable: measured.executable.to_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_sidecar_outside_its_workload_s_group_is_refused() {
        let own = Process::open(std::process::id().cast_signed()).unwrap();
        let gid = std::fs::metadata("/proc/self").unwrap().gid();
        check_group(&own, 1000, gid).unwrap();
        let refused = check_group(&own, 1000, 4_000_000_001).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        // Root may take on any group.
        check_group(&own, 0, 4_000_000_001).unwrap();
    }
}
