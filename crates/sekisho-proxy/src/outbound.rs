//! Outbound: the workload dials us in the clear on this machine; we dial the peer with the workload's SVID.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::request::Parts;
use http::uri::Authority;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use sekisho_host::Ownership;
use sekisho_identity::LeafFacts;
use sekisho_net::{Dialer, ExpectedServer, Listens, NetError, Slots, TlsConnection, TlsPeer, accept_each, listen_unix};
use sekisho_ports::{UnixListener, UnixStream};
use sekisho_runtime::{Repeated, Span, SpanSide, Stop, Traces, now};
use sekisho_sdk::{Held, IdentitySource, RevocationKeeper};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Local, OutboundSpec, Protocol};
use crate::decisions::Decider;
use crate::guard;
use crate::hops;
use crate::idle::{Idle, Timed};
use crate::inbound::{clean, http_builder};
use crate::local::{self, LocalError};
use crate::passing::Body;
use crate::program;
use crate::refusal::refuse_as;
use crate::renewal::{self, Renewer};
use crate::serving::{REVOKED, withdrawn};
use crate::shared_dial::SharedDial;
use crate::strict::Strict;
use crate::upload::{Faults, Upload};

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Revoked(String),
    /// The same failure for all who waited for one dial, or come soon after it.
    #[error(transparent)]
    Shared(Arc<DialError>),
    #[error("the dial was given up")]
    GivenUp,
}

/// A peer that cannot be dialled is tried again after this long at most.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a call of the workload waits for the sidecar's first identity.
const FIRST_IDENTITY: Duration = Duration::from_secs(5);

/// Connections that the workload may have open at one listener.
const MAX_CONNECTIONS: usize = 8192;

pub(crate) struct Outbound {
    pub spec: OutboundSpec,
    pub identity: IdentitySource,
    pub workload: Arc<Ownership>,
    pub protocol: Protocol,
    pub decider: Arc<Decider>,
    pub revocations: Arc<RevocationKeeper>,
    pub traces: Traces,
    pub stop: Stop,
    /// How long a request may be open without anything passing on it.
    pub body_idle: Duration,
    /// The connection in use, for requests.
    pub connection: Arc<SharedDial<SendRequest<Body>, DialError>>,
    pub undialled: Repeated,
    /// Whether the first identity is there, or was waited for.
    pub had_identity: AtomicBool,
}

pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) async fn bind(at: &Local) -> Result<Self, NetError> {
        match at {
            Local::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                Ok(Self::Tcp(listener.map_err(|source| NetError::Io { address: address.to_string(), source })?))
            }
            Local::Unix(path) => Ok(Self::Unix(listen_unix(path, 0o600)?)),
        }
    }
}

impl Listens for Listener {
    type Stream = Accepted;

    async fn accept_one(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(Accepted::Unix),
        }
    }
}

pub(crate) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// The stream, if it is the workload that dialled.
    async fn of_workload(self, workload: &Arc<Ownership>) -> Result<Box<dyn local::Stream>, LocalError> {
        match self {
            Self::Tcp(stream) => {
                let _best_effort = stream.set_nodelay(true);
                local::check_tcp(&stream, workload).await?;
                Ok(Box::new(stream))
            }
            Self::Unix(stream) => {
                local::check_unix(&stream, workload).await?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// Runs the tasks of one connection, and ends them with it: the library's own would go on while a stream is open, to
/// a peer
/// that is revoked.
#[derive(Clone, Default)]
struct Bound {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Bound {
    /// Returns when all of them have ended by themselves. The driver of a connection ends with its last sender,
    /// before its
    /// streams do.
    async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Bound
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                _ended = task => {}
            }
        });
    }
}

impl Outbound {
    pub(crate) async fn serve(self, listener: Listener) {
        let outbound = Arc::new(self);
        let token = outbound.stop.token();
        let slots = Slots::new(MAX_CONNECTIONS, MAX_CONNECTIONS);
        accept_each(&listener, &token, |stream| {
            let Some(slot) = slots.take(()) else {
                let listen = outbound.spec.listen.to_string();
                outbound.decider.refuse("local dial", &listen, "too many connections are open");
                return;
            };
            let outbound = outbound.clone();
            let stop = outbound.stop.clone();
            // Who dialled is looked up here, so that no process that is refused keeps the workload waiting.
            stop.spawn(async move {
                let listen = outbound.spec.listen.to_string();
                match outbound.taken(stream).await {
                    Ok(stream) => outbound.local_connection(stream).await,
                    Err(error @ LocalError::NotTheWorkload(_)) => {
                        outbound.decider.refuse("local dial", &listen, &error.to_string());
                    }
                    // Refused as well, and not an attack.
                    Err(error) => tracing::warn!(listen, %error, "a local connection was not taken"),
                }
                drop(slot);
            });
        })
        .await;
    }

    /// A connection that the workload has dialled, while it runs the program that the identity is of. The first one
    /// may come before
    /// the identity.
    async fn taken(&self, stream: Accepted) -> Result<Box<dyn local::Stream>, LocalError> {
        let stream = stream.of_workload(&self.workload).await?;
        if !self.had_identity.load(Ordering::Relaxed) {
            // Without one it is refused like any later one.
            let _late = tokio::time::timeout(FIRST_IDENTITY, self.identity.ready()).await;
            self.had_identity.store(true, Ordering::Relaxed);
        }
        program::check(&self.identity.held, self.workload.process()).await?;
        Ok(stream)
    }

    async fn local_connection(self: Arc<Self>, stream: Box<dyn local::Stream>) {
        if self.protocol == Protocol::Tcp {
            self.splice(stream).await;
            return;
        }
        let outbound = self.clone();
        let service = service_fn(move |request| {
            let outbound = outbound.clone();
            async move { Ok::<_, Infallible>(outbound.request(request).await) }
        });
        let builder = local_builder();
        let decider = self.decider.clone();
        let refuse = move |reason: &str| decider.refuse("request", "the workload", reason);
        let connection = builder.serve_connection(TokioIo::new(Strict::new(stream, refuse)), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            // Without an identity the sidecar speaks for no one: nothing is finished.
            () = withdrawn(self.identity.held.clone()) => return,
            () = self.stop.wait() => {}
            _done = connection.as_mut() => return,
        }
        connection.as_mut().graceful_shutdown();
        // What is not finished by then is cut.
        let _finished = tokio::time::timeout(Duration::from_secs(10), connection).await;
    }

    /// Passes a request on; its span, below the workload's, ends with the head of the response.
    async fn request(self: &Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        if !self.traces.are_on() {
            return self.pass(request).await;
        }
        let mut span = Span::of_request(&request, SpanSide::Client);
        span.attributes.push(("sekisho.peer", self.spec.expected.to_string()));
        if let Ok(header) = http::HeaderValue::from_str(&span.traceparent()) {
            request.headers_mut().insert("traceparent", header);
        }
        let response = self.pass(request).await;
        span.answered(&response);
        self.traces.end(span);
        response
    }

    async fn pass(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let refuse = refuse_as(&parts.headers);
        if let Err(error) = guard::check(&parts) {
            self.decider.refuse("request", "the workload", &error.to_string());
            return refuse(StatusCode::BAD_REQUEST, &error.to_string(), None);
        }
        let mut sender = match self.sender().await {
            Ok(sender) => sender,
            Err(error) => {
                let detail = format!("the peer `{}` cannot be reached: {error}", self.spec.expected);
                return refuse(StatusCode::BAD_GATEWAY, &detail, None);
            }
        };
        let Some(head) = outgoing(parts) else {
            return refuse(StatusCode::BAD_REQUEST, "the request's target cannot be formed", None);
        };
        let (idle, faults) = (Idle::new(self.body_idle), Faults::default());
        let body = Upload::held_back(Timed::new(body, idle.clone()), faults.clone(), &head.headers).boxed();
        let answer = tokio::select! {
            biased;
            answer = sender.send_request(Request::from_parts(head, body)) => answer,
            () = idle.over() => {
                return refuse(StatusCode::GATEWAY_TIMEOUT, "nothing has passed on this request for too long", None);
            }
        };
        match (answer, faults.found()) {
            (Ok(response), _) => {
                idle.touch();
                clean(response.map(|body| Timed::new(body, idle).boxed()))
            }
            (Err(_), Some(fault)) => refuse(fault.status, &fault.detail, None),
            (Err(error), None) => {
                tracing::warn!(peer = %self.spec.expected, %error, "the request was not answered");
                refuse(StatusCode::BAD_GATEWAY, "the peer did not answer", None)
            }
        }
    }

    /// A connection of the current SVID. After a rotation new requests go over a new one, and the old one ends when its
    /// last request has.
    async fn sender(self: &Arc<Self>) -> Result<SendRequest<Body>, DialError> {
        let held = self.identity.held.borrow().clone().ok_or(NetError::NoIdentity)?;
        let (generation, outbound) = (held.generation, self.clone());
        let dial = || async move { outbound.open(&held).await.inspect_err(|error| outbound.undialled(error)) };
        let dialled = self.connection.get(generation, |sender| !sender.is_closed(), dial).await;
        dialled.ok_or(DialError::GivenUp)?.map_err(DialError::Shared)
    }

    async fn open(&self, held: &Held) -> Result<SendRequest<Body>, DialError> {
        let dialled = self.dial(&[b"h2"]).await?;
        // Requests on it go on over rotations as long as both ends prove who they are.
        let renewer = self.renewer(&dialled.peer, held, renewal::OF_HTTP);
        let bound = Bound::default();
        let end = bound.end.clone().drop_guard();
        let mut builder = http2::Builder::new(bound.clone());
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
        let (identity, shared, generation) =
            (self.identity.held.clone(), Arc::downgrade(&self.connection), held.generation);
        let (sender, driver) = builder.handshake(TokioIo::new(dialled.stream)).await?;
        tokio::spawn(async move {
            let _end = end;
            tokio::select! {
                biased;
                // A connection lives no longer than the SVIDs on it, nor than the identity.
                () = withdrawn(identity.clone()) => {}
                why = renewer.until_refused() => tracing::info!(why, "a connection to a peer was closed"),
                () = async {
                    if let Err(error) = driver.await {
                        tracing::debug!(%error, "a connection to a peer ended");
                    }
                    bound.ended().await;
                } => {}
                () = let_go_after_rotation(identity, shared, generation) => {}
            }
        });
        Ok(sender)
    }

    /// A connection to the peer, whose SVID must not be revoked.
    async fn dial(&self, alpn: &[&[u8]]) -> Result<TlsConnection, DialError> {
        let dialled = self.dialer().connect(alpn).await?;
        self.revocations.complete().await;
        let revoked = leaf_of(&dialled.peer).and_then(|leaf| self.revocations.find(&leaf));
        revoked.map_or(Ok(dialled), |why| Err(DialError::Revoked(why)))
    }

    fn dialer(&self) -> Dialer {
        let expected = ExpectedServer::Id(self.spec.expected.clone());
        Dialer { source: self.identity.tls.clone(), address: self.spec.peer.clone(), expected, clock: now }
    }

    fn renewer(&self, peer: &TlsPeer, held: &Held, protocols: &'static [&'static [u8]]) -> Renewer {
        let leaf = leaf_of(peer);
        let theirs = leaf.as_ref().map(|leaf| leaf.not_after);
        Renewer {
            dialer: self.dialer(),
            protocols,
            held: self.identity.held.clone(),
            revocations: self.revocations.clone(),
            leaf,
            own: held.spiffe_id.clone(),
            key: peer.renewal,
            ends: theirs.map_or(held.not_after, |theirs| theirs.min(held.not_after)),
        }
    }

    async fn splice(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let held = self.identity.held.borrow().clone();
        let Some(held) = held else {
            tracing::warn!(peer = %self.spec.expected, "no SVID is held; the connection is refused");
            return;
        };
        let failures = &self.connection.failures;
        if let Some(error) = failures.recent(held.generation) {
            tracing::debug!(peer = %self.spec.expected, %error, "the peer could not be dialled a moment ago");
            return;
        }
        let mut connection = match self.dial(&[]).await {
            Ok(connection) => connection,
            Err(error) => {
                self.undialled(&error);
                failures.failed(held.generation, Arc::new(error));
                return;
            }
        };
        failures.succeeded();
        let renewer = self.renewer(&connection.peer, &held, renewal::OF_TCP);
        let why = tokio::select! {
            biased;
            () = withdrawn(self.identity.held.clone()) => "the identity was taken away".to_owned(),
            () = self.stop.wait() => return,
            why = renewer.until_refused() => why,
            _finished = copy_bidirectional(&mut stream, &mut connection.stream) => return,
        };
        tracing::info!(peer = %self.spec.expected, why, "a connection was closed");
    }

    /// A peer that answers as another, or with a bad SVID, is recorded as refused; one that does not answer is not.
    fn undialled(&self, error: &DialError) {
        let expected = &self.spec.expected;
        if let Some(count) = self.undialled.failed(&error.to_string()) {
            tracing::warn!(peer = %expected, %error, count, "the peer cannot be dialled");
        }
        if let DialError::Revoked(why) = error {
            self.decider.refuse(REVOKED, &expected.to_string(), why);
        }
        if let DialError::Net(NetError::Handshake { .. } | NetError::Peer(_)) = error {
            self.decider.refuse("peer", &expected.to_string(), &error.to_string());
        }
    }
}

/// As a workload is served. It may send its last byte before it has read the answer.
fn local_builder() -> Builder<TokioExecutor> {
    let mut builder = http_builder();
    builder.http1().half_close(true);
    builder
}

/// The request's head as it goes on over HTTP/2, with the same path and query.
fn outgoing(mut parts: Parts) -> Option<Parts> {
    let host = parts.headers.remove(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority =
        parts.uri.authority().cloned().or(host).unwrap_or_else(|| Authority::from_static(guard::NO_AUTHORITY));
    let target = parts.uri.path_and_query().cloned();
    let target = target.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    parts.uri = Uri::builder().scheme("https").authority(authority).path_and_query(target).build().ok()?;
    parts.version = http::Version::HTTP_2;
    hops::for_http2(&mut parts.headers);
    guard::join_cookies(&mut parts.headers);
    Some(parts)
}

/// Keeps a connection of an earlier SVID open for the requests that are on it only. Does not return.
async fn let_go_after_rotation(
    mut identity: watch::Receiver<Option<Held>>,
    shared: Weak<SharedDial<SendRequest<Body>, DialError>>,
    generation: u64,
) {
    let rotated = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.generation != generation);
    let rotated = identity.wait_for(rotated).await.is_ok();
    if let Some(shared) = shared.upgrade().filter(|_| rotated) {
        shared.forget(generation);
    }
    std::future::pending().await
}

fn leaf_of(peer: &TlsPeer) -> Option<LeafFacts> {
    peer.leaf.as_ref().map(|leaf| leaf.get().clone())
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn law_l12_the_tasks_of_a_connection_end_with_it() {
        let bound = Bound::default();
        let end = bound.end.clone().drop_guard();
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        for _ in 0..3 {
            let alive = alive.clone();
            bound.execute(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
        }
        drop(alive);
        let waits = Duration::from_millis(50);
        assert!(tokio::time::timeout(waits, ended.recv()).await.is_err(), "a stream is open");
        let early = tokio::time::timeout(waits, bound.ended()).await;
        assert!(early.is_err(), "a connection does not end before its streams");
        drop(end);
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), ended.recv()).await.unwrap(), None);
        tokio::time::timeout(Duration::from_secs(10), bound.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_has_sent_its_last_byte_gets_its_answer() {
        let (mut client, server) = duplex(4096);
        let service = service_fn(|_: Request<Incoming>| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(Response::new("answered".to_owned()))
        });
        let serving = tokio::spawn(async move {
            let stream = TokioIo::new(Strict::new(server, |_: &str| {}));
            let _ended = local_builder().serve_connection(stream, service).await;
        });
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("answered"), "{answer:?}");
        serving.await.unwrap();
    }

    #[test]
    fn what_is_forwarded_has_no_field_of_the_local_connection() {
        let request = Request::builder().uri("/v1/x?y=1").header("host", "ledger").header("te", "trailers");
        let request = request.header("connection", "close, x-hop").header("x-hop", "1").header("keep-alive", "5");
        let head = outgoing(request.body(()).unwrap().into_parts().0).unwrap();
        assert_eq!(head.uri, "https://ledger/v1/x?y=1");
        let names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["te"]);
    }
}
