//! Envoy's secret discovery service, version 3. Each stream is measured as any caller of the Workload API is, and
//! sends anew when an SVID or the authorities change.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use prost_types::Any;

use sekisho_proto::envoy::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use sekisho_proto::envoy::secret::secret_discovery_service_server::SecretDiscoveryService;
use sekisho_runtime::instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::core::Core;
use crate::refusal::Refusal;
use crate::sds_delta::Subscribed;
use crate::sds_secrets::{RequestedSecrets, SECRET_TYPE, State, secret, verifies_by_spiffe};
use crate::status::outward;
use crate::svid::CachedSvid;
use crate::{records, serving};

/// Names in one request; law L9.
const MAX_NAMES: usize = 64;
const MAX_NAME_BYTES: usize = 2048;
/// Between two measurements for one stream.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Service(pub(crate) Arc<Core>);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type States = mpsc::Receiver<Result<State, Status>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type StreamSecretsStream = Messages<DiscoveryResponse>;
    type DeltaSecretsStream = Messages<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let caller = Caller::of(&request)?;
        let whole = StateOfTheWorld { feed: Feed::new(&self.0, &caller), asked: None, number: 0, sent: vec![] };
        self.answer(&caller, |to| whole.run(request.into_inner(), to))
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let caller = Caller::of(&request)?;
        let delta = Delta { feed: Feed::new(&self.0, &caller), subscribed: Subscribed::default() };
        self.answer(&caller, |to| delta.run(request.into_inner(), to))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        check(&request.type_url, &request.resource_names)?;
        let by_spiffe = request.node.as_ref().is_some_and(verifies_by_spiffe);
        let asked = RequestedSecrets::of(request.resource_names, by_spiffe);
        let mut feed = Feed::new(&self.0, &caller);
        feed.start(&asked);
        let state = feed.next(Some(&asked)).await.ok_or_else(|| Status::unavailable("the agent stops"))??;
        let resources = resources(&asked, &state)?;
        Ok(Response::new(DiscoveryResponse {
            version_info: String::new(),
            resources,
            type_url: SECRET_TYPE.into(),
            nonce: String::new(),
        }))
    }
}

impl Service {
    /// Runs a stream beside its requests. How it ends, if that is its caller's fault, goes on record.
    fn answer<T, F>(
        &self,
        caller: &Arc<Caller>,
        run: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F,
    ) -> Result<Response<Messages<T>>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let guard = self.0.limits.streams.open(caller.process.pid())?;
        let (to, messages) = mpsc::channel(1);
        let (running, core, caller) = (run(to.clone()), self.0.clone(), caller.clone());
        tokio::spawn(async move {
            let _guard = guard;
            if let Err(status) = running.await {
                let status = records::recorded(&core, &caller, "SDS stream", status).await;
                let _gone = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }
}

/// What a process has, and each change of it. A change of what is asked starts it again, so that nothing leaves that
/// was not measured for it. However often the caller asks, one measurement runs at a time, and none sooner than
/// `PAUSE` after the one before (law L9).
struct Feed {
    core: Arc<Core>,
    caller: Arc<Caller>,
    states: Option<States>,
    /// The task behind `states`; it is aborted with this.
    task: JoinSet<()>,
    /// Whether `states` is for an earlier request.
    is_outdated: bool,
    started: Option<Instant>,
    /// Whether a state was sent: the caller has an identity then.
    is_served: bool,
    is_rejection_logged: bool,
}

impl Feed {
    fn new(core: &Arc<Core>, caller: &Arc<Caller>) -> Self {
        let (core, caller) = (core.clone(), caller.clone());
        Self {
            core,
            caller,
            states: None,
            task: JoinSet::new(),
            is_outdated: false,
            started: None,
            is_served: false,
            is_rejection_logged: false,
        }
    }

    /// What is asked has changed: what was measured for the earlier request is dropped.
    fn restart(&mut self) {
        self.states = None;
        self.task = JoinSet::new();
        self.is_outdated = true;
    }

    fn start(&mut self, asked: &RequestedSecrets) {
        let with_svids = asked.needs_svids(&self.core.server_state.bundle());
        let (to, states) = mpsc::channel(1);
        let (core, caller) = (self.core.clone(), self.caller.clone());
        self.task.spawn(async move {
            let message = |core: &Core, held: &[Arc<CachedSvid>]| State {
                bundle: core.server_state.bundle(),
                svids: held.to_vec(),
            };
            if let Err(refusal) = serving::feed(&core, &caller, with_svids, message, &to).await {
                let _gone = to.send(Err(outward(refusal))).await;
            }
        });
        (self.states, self.is_outdated, self.started) = (Some(states), false, Some(instant()));
    }

    /// The next state for `asked`.
    async fn next(&mut self, asked: Option<&RequestedSecrets>) -> Option<Result<State, Status>> {
        if let Some(asked) = asked.filter(|_| self.is_outdated) {
            if let Some(started) = self.started {
                tokio::time::sleep_until(started + PAUSE).await;
            }
            self.start(asked);
        }
        let state = match &mut self.states {
            Some(states) => states.recv().await,
            None => std::future::pending().await,
        };
        self.is_served |= matches!(state, Some(Ok(_)));
        state
    }

    /// Logs why a client rejects what it was sent, once per stream: the client writes the text. Without an identity it
    /// was sent nothing.
    fn rejected(&mut self, why: &str) {
        if self.is_served && !std::mem::replace(&mut self.is_rejection_logged, true) {
            let client_text: String = why.chars().take(200).collect();
            tracing::warn!(pid = self.caller.process.pid(), ?client_text, "a client of SDS rejects what it was sent");
        }
    }
}

/// A stream whose answers hold everything that was requested (state-of-the-world variant of xDS).
struct StateOfTheWorld {
    feed: Feed,
    asked: Option<RequestedSecrets>,
    /// Of the last answer: its version and its nonce.
    number: u64,
    sent: Vec<Any>,
}

impl StateOfTheWorld {
    async fn run(
        mut self,
        mut requests: Streaming<DiscoveryRequest>,
        to: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                biased;
                () = to.closed() => return Ok(()),
                request = requests.message() => match request? {
                    Some(request) => self.take(request)?,
                    None => return Ok(()),
                },
                state = self.feed.next(self.asked.as_ref()) => {
                    let Some(state) = state else { return Ok(()) };
                    let Some(response) = self.response(&state?)? else { continue };
                    if to.send(Ok(response)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn take(&mut self, request: DiscoveryRequest) -> Result<(), Status> {
        check(&request.type_url, &request.resource_names)?;
        if self.number > 0 && request.response_nonce != self.number.to_string() {
            // It answers an earlier response; the one to the last is on its way.
            return Ok(());
        }
        if let Some(error) = request.error_detail {
            self.feed.rejected(&error.message);
        }
        // Envoy describes itself in the first request only.
        let described = request.node.as_ref().map(verifies_by_spiffe);
        let by_spiffe = described.or(self.asked.as_ref().map(|asked| asked.by_spiffe)).unwrap_or(false);
        let asked = RequestedSecrets::of(request.resource_names, by_spiffe);
        if self.asked.as_ref() != Some(&asked) {
            self.feed.restart();
            self.sent.clear();
            self.asked = Some(asked);
        }
        Ok(())
    }

    fn response(&mut self, state: &State) -> Result<Option<DiscoveryResponse>, Status> {
        let Some(asked) = &self.asked else { return Ok(None) };
        let resources = resources(asked, state)?;
        if self.number > 0 && resources == self.sent {
            return Ok(None);
        }
        self.number += 1;
        self.sent.clone_from(&resources);
        let number = self.number.to_string();
        Ok(Some(DiscoveryResponse {
            version_info: number.clone(),
            resources,
            type_url: SECRET_TYPE.into(),
            nonce: number,
        }))
    }
}

/// A stream whose answers hold what has changed.
struct Delta {
    feed: Feed,
    subscribed: Subscribed,
}

impl Delta {
    async fn run(
        mut self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        to: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                biased;
                () = to.closed() => return Ok(()),
                request = requests.message() => match request? {
                    Some(request) => {
                        check(&request.type_url, &request.resource_names_subscribe)?;
                        if let Some(error) = &request.error_detail {
                            self.feed.rejected(&error.message);
                        }
                        if self.subscribed.take(request, MAX_NAMES).map_err(Status::invalid_argument)? {
                            self.feed.restart();
                        }
                    }
                    None => return Ok(()),
                },
                state = self.feed.next(Some(self.subscribed.asked())) => {
                    let Some(state) = state else { return Ok(()) };
                    let Some(response) = self.subscribed.response(&state?) else { continue };
                    if to.send(Ok(response)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn resources(asked: &RequestedSecrets, state: &State) -> Result<Vec<Any>, Refusal> {
    // All or none, as SPIRE's agent has it: a client that waits for a secret says so.
    asked.all(state).iter().map(|name| secret(name, asked.by_spiffe, state).ok_or(Refusal::NoSuchId)).collect()
}

fn check(type_url: &str, names: &[String]) -> Result<(), Status> {
    if !type_url.is_empty() && type_url != SECRET_TYPE {
        return Err(Status::invalid_argument("`type_url` is not that of secrets"));
    }
    if names.len() > MAX_NAMES || names.iter().any(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
        return Err(Status::invalid_argument(format!(
            "at most {MAX_NAMES} names of 1 to {MAX_NAME_BYTES} bytes are taken"
        )));
    }
    Ok(())
}
