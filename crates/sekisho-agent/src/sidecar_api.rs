//! For sidecars: an SVID lent while its workload lives, policy revisions, and the way of decisions (walk 2).
//!
//! Whoever may borrow could speak for the workload, so: the borrower runs this agent's own executable, or one that the
//! operator named; it runs as the workload's user, or as root; and both are held by pidfd.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sekisho_host::{HostError, Process};
use sekisho_identity::Entry;
use sekisho_net::on_record;
use sekisho_proto::node as wire;
use sekisho_proto::node::sidecar_server::Sidecar;
use sekisho_proto::server::{Policy, RecordRequest, RecordResponse, node_client::NodeClient};
use sekisho_runtime::now;
use sekisho_types::SpiffeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::caller::{Caller, ended, measure_process};
use crate::core::{Core, HeldSvid};
use crate::{issue, records, revocations};

pub(crate) struct Service(pub(crate) Arc<Core>);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Sidecar for Service {
    type LendStream = Messages<wire::LendResponse>;
    type WatchPolicyStream = Messages<Policy>;
    type WatchRevocationsStream = Messages<wire::WatchRevocationsResponse>;

    async fn lend(&self, request: Request<wire::LendRequest>) -> Result<Response<Self::LendStream>, Status> {
        let caller = self.sidecar(&request).await?;
        let wire::LendRequest { workload_pid, workload_start_time } = request.into_inner();
        let gone = |error: HostError| on_record(Status::not_found(error.to_string()), None);
        let workload = Process::open(workload_pid).map_err(gone)?;
        if workload.start_time() != workload_start_time {
            return Err(Status::not_found(format!(
                "process {workload_pid} is not the workload: that one has ended, and its number was given to another"
            )));
        }
        let workload = Arc::new(workload);
        let guard = self.0.open_stream(caller.process.pid());
        let guard = guard.ok_or_else(|| Status::resource_exhausted("this sidecar has too many streams open"))?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            if let Err(status) = lend(&core, &caller, &workload, &to).await {
                let status = records::recorded(&core, &caller, "Lend", status).await;
                let _gone = to.send(Err(status)).await;
            }
            let mut lent = core.lent.lock().unwrap_or_else(PoisonError::into_inner);
            // What a sidecar runs is nobody's business once none speaks for that identity.
            if let Some(id) = lent.remove(&caller.process.pid())
                && !lent.values().any(|other| *other == id)
            {
                core.policy_in_force.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.to_string());
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
        let guard = self.0.open_stream(caller.process.pid());
        let guard = guard.ok_or_else(|| Status::resource_exhausted("this sidecar has too many streams open"))?;
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
        request: Request<wire::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let caller = self.sidecar(&request).await?;
        let guard = self.0.open_stream(caller.process.pid());
        let guard = guard.ok_or_else(|| Status::resource_exhausted("this sidecar has too many streams open"))?;
        let (to, messages) = mpsc::channel(1);
        let core = self.0.clone();
        tokio::spawn(async move {
            let _guard = guard;
            revocations::feed(core, to).await;
        });
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }

    async fn report_policy(
        &self,
        request: Request<wire::ReportPolicyRequest>,
    ) -> Result<Response<wire::ReportPolicyResponse>, Status> {
        let caller = self.sidecar(&request).await?;
        let report = request.into_inner();
        let lent = self.lent_to(&caller)?;
        if lent.to_string() != report.spiffe_id {
            return Err(Status::permission_denied("a sidecar reports for the identity that was delegated to it"));
        }
        self.0.policy_in_force.lock().unwrap_or_else(PoisonError::into_inner).insert(report.spiffe_id, report.revision);
        self.0.reported.send_modify(|count| *count += 1);
        Ok(Response::new(wire::ReportPolicyResponse {}))
    }

    async fn record(&self, request: Request<RecordRequest>) -> Result<Response<RecordResponse>, Status> {
        let caller = self.sidecar(&request).await?;
        let mut request = request.into_inner();
        let lent = self.lent_to(&caller)?.to_string();
        let about =
            |record: &[u8]| serde_json::from_slice::<About>(record).is_ok_and(|about| about.input.destination == lent);
        if !request.records.iter().all(|record| about(record)) {
            return Err(Status::invalid_argument("a sidecar records decisions about its own workload only"));
        }
        request.batch_key = format!("{lent}/{}", request.batch_key);
        NodeClient::new(self.0.server()).record(request).await
    }
}

/// What a record says that a sidecar may not choose.
#[derive(serde::Deserialize)]
struct About<'a> {
    #[serde(borrow)]
    input: AboutInput<'a>,
}

#[derive(serde::Deserialize)]
struct AboutInput<'a> {
    destination: &'a str,
}

impl Service {
    /// The caller, if it may act as a sidecar.
    async fn sidecar<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Status> {
        let caller = Caller::of(request)?;
        let (measured, _) = caller.measure(&self.0).await?;
        if self.0.sidecar_digests.contains(&measured.executable_digest) {
            return Ok(caller);
        }
        tracing::warn!(pid = measured.pid, digest = %measured.executable_digest, "an unknown executable asked as a sidecar");
        Err(Status::permission_denied(format!(
            "this executable may not act as a sidecar; if it should, start the agent with `--sidecar-sha256 {}`",
            measured.executable_digest
        )))
    }

    fn lent_to(&self, caller: &Caller) -> Result<SpiffeId, Status> {
        let lent = self.0.lent.lock().unwrap_or_else(PoisonError::into_inner).get(&caller.process.pid()).cloned();
        lent.ok_or_else(|| Status::failed_precondition("nothing is delegated to this sidecar now"))
    }
}

async fn lend(
    core: &Arc<Core>,
    borrower: &Arc<Caller>,
    workload: &Arc<Process>,
    to: &mpsc::Sender<Result<wire::LendResponse, Status>>,
) -> Result<(), Status> {
    let mut changes = core.changes();
    let mut said = None;
    loop {
        changes.mark_unchanged();
        let owner = workload.owner().map_err(|error| ended(&error.to_string()))?;
        if borrower.uid != 0 && borrower.uid != owner {
            return Err(Status::permission_denied("a sidecar runs as its workload's user, or as root"));
        }
        let (measured, at) = measure_process(owner, workload.clone(), |process| process, core.clone()).await?;
        if borrower.uid != 0 && borrower.uid != measured.uid {
            return Err(Status::permission_denied("a sidecar runs as its workload's user, or as root"));
        }
        // Whoever gets a request through the sidecar must not speak as an operator, nor as another server.
        let may_be_lent = |entry: &Arc<Entry>| !entry.admin && !entry.downstream;
        let matched = core.matches(&measured.selectors, at);
        if !matched.is_empty() && !matched.iter().any(may_be_lent) {
            return Err(Status::permission_denied(
                "entries that are `admin` or `downstream` are delegated to no sidecar",
            ));
        }
        let Some(entry) = matched.into_iter().find(may_be_lent) else {
            return Err(records::no_identity(core, &measured).await);
        };
        let wait = match issue::x509(core, &entry, &measured, at).await {
            Ok(held) => {
                let state = (held.log_index, held.not_after, core.bundle().sequence);
                if said != Some(state) {
                    core.lent
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(borrower.process.pid(), held.spiffe_id.clone());
                    if to.send(Ok(response(core, &held))).await.is_err() {
                        return Ok(());
                    }
                    said = Some(state);
                }
                let millis = held.renew_at.millis().saturating_sub(now().millis());
                u64::try_from(millis).ok().filter(|ms| *ms > 0).map_or(Duration::from_secs(3), Duration::from_millis)
            }
            Err(status) if said.is_some() && !issue::is_refusal(&status) => Duration::from_secs(3),
            // The server has it in its log.
            Err(status) => return Err(on_record(status, None)),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            heard = changes.changed() => if heard.is_err() { return Ok(()) },
            () = workload.ended() => return Err(ended("the workload has ended, and its identity with it")),
            () = borrower.process.ended() => return Ok(()),
            () = to.closed() => return Ok(()),
        }
    }
}

fn response(core: &Core, held: &HeldSvid) -> wire::LendResponse {
    wire::LendResponse {
        spiffe_id: held.spiffe_id.to_string(),
        cert_chain: held.identity.chain.clone(),
        private_key: held.identity.key.expose().clone(),
        bundle: core.bundle().x509_authorities.iter().map(|authority| authority.der.clone()).collect(),
        log_index: held.log_index,
    }
}
