//! Outbound: the workload dials us in the clear on this machine; we dial the peer with the workload's SVID.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use sekisho_host::Ownership;
use sekisho_net::{Listens, NetError, Slots, accept_each, broken_rule, listen_unix};
use sekisho_ports::{UnixListener, UnixStream};
use sekisho_runtime::{Span, SpanSide, Stop, Traces};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::body_filter::{Body, empty};
use crate::config::{Local, Protocol};
use crate::dialling::DialError;
use crate::guard;
use crate::idle::{Idle, Timed};
use crate::inbound::{clean, http_builder};
use crate::local::{self, Caller, LocalError};
use crate::poll_on_wake::PollOnWake;
use crate::program;
use crate::refusal::refuse_as;
use crate::renewal;
use crate::request_body::RequestBody;
use crate::serving::withdrawn;
use crate::shared_dial::Failures;
use crate::strict::Strict;
use crate::to_peer::{SendError, ToPeer};
use crate::upload::{Faults, Upload};

/// A peer that cannot be dialled is tried again after this long at most.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a call of the workload waits for the sidecar's first identity.
const FIRST_IDENTITY: Duration = Duration::from_secs(5);

/// Connections that the workload may have open at one listener.
const MAX_CONNECTIONS: usize = 8192;

pub(crate) struct Outbound {
    pub listen: Local,
    pub workload: Arc<Ownership>,
    pub protocol: Protocol,
    pub traces: Traces,
    pub stop: Stop,
    /// How long a request may be open without anything passing on it.
    pub body_idle: Duration,
    pub peer: ToPeer,
    /// Dials for TCP that failed.
    pub failures: Failures<DialError>,
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

type FromWorkload = (Box<dyn local::Stream>, Caller);

impl Accepted {
    /// The stream, if it is the workload that dialled.
    async fn of_workload(self, workload: &Arc<Ownership>) -> Result<FromWorkload, LocalError> {
        match self {
            Self::Tcp(stream) => {
                let _best_effort = stream.set_nodelay(true);
                let caller = local::check_tcp(&stream, workload).await?;
                Ok((Box::new(stream), caller))
            }
            Self::Unix(stream) => {
                let caller = local::check_unix(&stream, workload).await?;
                Ok((Box::new(stream), caller))
            }
        }
    }
}

impl Outbound {
    pub(crate) async fn serve(self, listener: Listener) {
        let outbound = Arc::new(self);
        let token = outbound.stop.token();
        let slots = Slots::new(MAX_CONNECTIONS, MAX_CONNECTIONS);
        accept_each(&listener, &token, |stream| {
            let Some(slot) = slots.take(()) else {
                let listen = outbound.listen.to_string();
                outbound.peer.dialer.decider.refuse("local dial", &listen, "too many connections are open");
                return;
            };
            let outbound = outbound.clone();
            let stop = outbound.stop.clone();
            // Who dialled is looked up here, so that no process that is refused keeps the workload waiting.
            stop.spawn(async move {
                let listen = outbound.listen.to_string();
                match outbound.taken(stream).await {
                    Ok((stream, caller)) => outbound.local_connection(stream, caller).await,
                    Err(error @ LocalError::NotTheWorkload(_)) => {
                        outbound.peer.dialer.decider.refuse("local dial", &listen, &error.to_string());
                    }
                    // Refused as well, and not an attack.
                    Err(error) => tracing::warn!(listen, %error, "a local connection was refused"),
                }
                drop(slot);
            });
        })
        .await;
    }

    /// A connection that the workload has dialled, while it runs the program that the identity is of. The first one
    /// may come before the identity.
    async fn taken(&self, stream: Accepted) -> Result<FromWorkload, LocalError> {
        let accepted = stream.of_workload(&self.workload).await?;
        let identity = &self.peer.dialer.identity;
        if !self.had_identity.load(Ordering::Relaxed) {
            // Without one it is refused like any later one.
            tokio::select! {
                biased;
                () = self.stop.wait() => {}
                _late = tokio::time::timeout(FIRST_IDENTITY, identity.ready()) => {}
            }
            self.had_identity.store(true, Ordering::Relaxed);
        }
        program::check(&identity.held, self.workload.process()).await?;
        Ok(accepted)
    }

    async fn local_connection(self: Arc<Self>, stream: Box<dyn local::Stream>, caller: Caller) {
        if self.protocol == Protocol::Tcp {
            self.splice(stream).await;
            return;
        }
        let (outbound, caller) = (self.clone(), Arc::new(caller));
        let service = service_fn(move |request| {
            let (outbound, caller) = (outbound.clone(), caller.clone());
            async move { Ok::<_, Infallible>(outbound.request(request, &caller).await) }
        });
        let builder = local_builder();
        let decider = self.peer.dialer.decider.clone();
        let refuse = move |reason: &str| decider.refuse("request", "the workload", reason);
        let connection = builder.serve_connection(TokioIo::new(Strict::new(stream, refuse)), service);
        let mut connection = std::pin::pin!(connection);
        let mut is_withdrawn = PollOnWake::new(async {
            tokio::select! {
                biased;
                () = withdrawn(self.peer.dialer.identity.held.clone()) => true,
                () = self.stop.wait() => false,
            }
        });
        tokio::select! {
            biased;
            // Without an identity the sidecar speaks for no one: nothing is finished.
            is_withdrawn = is_withdrawn.ready() => if is_withdrawn {
                return;
            },
            _done = connection.as_mut() => return,
        }
        connection.as_mut().graceful_shutdown();
        // What is not finished by then is cut.
        let _finished = tokio::time::timeout(Duration::from_secs(10), connection).await;
    }

    /// Passes a request on; its span, below the workload's, ends with the head of the response.
    async fn request(self: &Arc<Self>, mut request: Request<Incoming>, caller: &Caller) -> Response<Body> {
        if !self.traces.are_on() {
            return self.pass(request, caller).await;
        }
        let mut span = Span::of_request(&request, SpanSide::Client);
        span.attributes.push(("sekisho.peer", self.peer.dialer.expected.to_string()));
        if let Ok(header) = http::HeaderValue::from_str(&span.traceparent()) {
            request.headers_mut().insert("traceparent", header);
        }
        let response = self.pass(request, caller).await;
        span.answered(&response);
        self.traces.end(span);
        response
    }

    async fn pass(&self, request: Request<Incoming>, caller: &Caller) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut body = RequestBody::new(&head, body);
        let answer = self.pass_head(head, &mut body, caller).await;
        body.before(answer).await
    }

    async fn pass_head(&self, parts: Parts, body: &mut RequestBody<Incoming>, caller: &Caller) -> Response<Body> {
        let refuse = refuse_as(&parts.headers);
        if let Err(error) = guard::check(&parts) {
            self.peer.dialer.decider.refuse("request", "the workload", &error.to_string());
            return refuse(StatusCode::BAD_REQUEST, &error.to_string(), None);
        }
        let idle = Idle::new(self.body_idle);
        let (body, faults) = match body.take() {
            None => (empty(), None),
            Some((body, faults)) => {
                let body = Upload::held_back(Timed::new(body, idle.clone()), faults.clone(), &parts.headers);
                (body.boxed(), Some(faults))
            }
        };
        let answer = tokio::select! {
            biased;
            answer = self.peer.send(parts, body) => answer,
            // What it asked for is given up with it, so that its peer's service is free for others.
            () = caller.leaves() => return refuse(StatusCode::BAD_GATEWAY, "the caller has left", None),
            () = idle.over() => {
                return refuse(StatusCode::GATEWAY_TIMEOUT, "no data was sent on this request for too long", None);
            }
        };
        let peer = &self.peer.dialer.expected;
        match (answer, faults.as_ref().and_then(Faults::found)) {
            (Ok(response), _) => {
                idle.touch();
                clean(response.map(|body| Timed::new(body, idle).boxed()))
            }
            (Err(SendError::Dial(error)), _) => {
                refuse(StatusCode::BAD_GATEWAY, &format!("the peer `{peer}` cannot be reached: {error}"), None)
            }
            (Err(error @ SendError::Target), _) => refuse(StatusCode::BAD_REQUEST, &error.to_string(), None),
            (Err(_), Some(fault)) => refuse(fault.status, &fault.detail, None),
            (Err(error), None) => {
                let broken = match &error {
                    SendError::Answer(error) => Some(error.to_string()),
                    SendError::Http(error) => broken_rule(error),
                    SendError::Dial(_) | SendError::Target => None,
                };
                if let Some(rule) = broken {
                    self.peer.dialer.decider.refuse("answer", peer.as_str(), &rule);
                }
                tracing::warn!(%peer, %error, "the peer did not answer the request");
                refuse(StatusCode::BAD_GATEWAY, "the peer did not answer", None)
            }
        }
    }

    async fn splice(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (dialer, failures) = (&self.peer.dialer, &self.failures);
        let Ok(held) = dialer.held() else {
            tracing::warn!(peer = %dialer.expected, "no SVID is held; the connection is refused");
            return;
        };
        if let Some(error) = failures.recent(held.generation) {
            tracing::debug!(peer = %dialer.expected, %error, "the peer could not be dialled a moment ago");
            return;
        }
        let mut connection = match dialer.dial(&[]).await {
            Ok(connection) => connection,
            Err(error) => return failures.failed(held.generation, Arc::new(error)),
        };
        failures.succeeded();
        let renewer = dialer.renewer(&connection.peer, &held, renewal::OF_TCP);
        let why = tokio::select! {
            biased;
            () = withdrawn(dialer.identity.held.clone()) => "the identity was taken away".to_owned(),
            () = self.stop.wait() => return,
            why = renewer.until_refused() => why,
            _finished = copy_bidirectional(&mut stream, &mut connection.stream) => return,
        };
        tracing::info!(peer = %dialer.expected, why, "a connection was closed");
    }
}

/// As a workload is served. It may send its last byte before it has read the answer.
fn local_builder() -> Builder<TokioExecutor> {
    let mut builder = http_builder();
    builder.http1().half_close(true);
    builder
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_half_closed_client_gets_its_answer() {
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
}
