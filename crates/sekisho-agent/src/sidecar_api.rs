//! For sidecars: an SVID delegated while its workload lives, policy revisions, and the way of decisions (flow 2).
//!
//! A borrower could speak for the workload, so: the borrower runs this agent's own executable, or one that the
//! operator named; it runs as the workload's user, or as root; and both are held by pidfd.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use sekisho_events::RecordHead;
use sekisho_host::{HostError, Process};
use sekisho_net::on_record;
use sekisho_proto::node as wire;
use sekisho_proto::node::sidecar_server::Sidecar;
use sekisho_proto::server::{Policy, RecordRequest, RecordResponse, node_client::NodeClient};
use sekisho_types::SpiffeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::core::Core;
use crate::delegation::Delegation;
use crate::refusal::Refusal;
use crate::streams::StreamGuard;
use crate::{records, revocations, sign};

pub(crate) struct Service(pub(crate) Arc<Core>);

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
                "process {workload_pid} is not the workload: that one has stopped, and its number was given to another"
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
            if let Err(refusal) = delegation.feed(&to).await {
                let status = records::recorded(&core, &caller, "Lend", refusal.into()).await;
                let _gone = to.send(Err(status)).await;
            }
            // What a sidecar runs concerns no one once none speaks for that identity.
            if core.delegations.end(caller.process.pid(), stream) {
                core.delegations.ring();
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
            // The cache of an agent that was away for long holds an old policy, and the server has a newer one.
            tokio::select! {
                biased;
                () = to.closed() => return,
                () = revocations::settled(&core) => {}
            }
            let mut changes = core.server_state.changes();
            let mut said = None;
            loop {
                changes.mark_unchanged();
                let policy = core.server_state.read(|state| state.policy.clone());
                if let Some(policy) = policy.filter(|policy| said != Some(policy.revision)) {
                    said = Some(policy.revision);
                    if to.send(Ok(policy)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    biased;
                    () = to.closed() => return,
                    heard = changes.changed() => if heard.is_err() { return },
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
        self.0.delegations.ring();
        Ok(Response::new(wire::ReportPolicyResponse {}))
    }

    async fn sign(&self, request: Request<wire::SignRequest>) -> Result<Response<wire::SignResponse>, Status> {
        let caller = self.sidecar(&request).await?;
        let signature = sign::sign(&self.0, &caller, request.into_inner()).await?;
        Ok(Response::new(wire::SignResponse { signature }))
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
        NodeClient::new(self.0.upstream.channel()).record(request).await
    }
}

impl Service {
    /// The caller, if it may act as a sidecar.
    async fn sidecar<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Refusal> {
        let caller = Caller::of(request)?;
        let (measured, _) = caller.measure(&self.0.host).await?;
        let Some(digest) = measured.executable_digest else {
            return Err(Refusal::NoSidecar("a sidecar in another user namespace than its agent cannot be measured"));
        };
        if measured.is_traced {
            return Err(Refusal::NoSidecar("a sidecar that another process traces (ptrace) gets no identity"));
        }
        if self.0.delegations.may_be_sidecar(&digest) {
            return Ok(caller);
        }
        tracing::warn!(pid = measured.pid, %digest, "an unknown executable called as a sidecar");
        Err(Refusal::UnknownSidecar(digest))
    }

    /// The caller, if it may act as a sidecar or has an identity of its own: who refuses peers must know which are
    /// revoked.
    async fn holder<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Refusal> {
        let caller = Caller::of(request)?;
        let (measured, at) = caller.measure(&self.0.host).await?;
        let has_identity = !self.0.server_state.matches(&measured.selectors, at).is_empty();
        if has_identity { Ok(caller) } else { self.sidecar(request).await }
    }

    /// A place for one stream of a process.
    fn stream(&self, caller: &Caller) -> Result<StreamGuard, Refusal> {
        self.0.limits.streams.open(caller.process.pid())
    }

    fn delegated_to(&self, caller: &Caller) -> Result<SpiffeId, Status> {
        let delegated = self.0.delegations.of(caller.process.pid());
        delegated.ok_or_else(|| Status::failed_precondition("nothing is delegated to this sidecar now"))
    }
}
